import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedirl_ray


@pytest.mark.parametrize("name", fedirl_ray.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(fedirl_ray, name).__doc__


def test_there_are_at_most_six_public_names():
    assert 0 < len(fedirl_ray.__all__) <= 6


def test_a_star_import_brings_them_all():
    code = "from fedirl_ray import *; import fedirl_ray; [eval(n) for n in fedirl_ray.__all__]"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_name_that_is_not_there_is_refused_as_by_any_module():
    with pytest.raises(AttributeError, match="module 'fedirl_ray' has no attribute 'nosuch'"):
        _ = fedirl_ray.nosuch


def test_every_error_raised_on_purpose_is_of_one_family():
    from fedirl_ray import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert all(issubclass(kind, errors.FedirlError) for kind in kinds)
    listed = re.findall(r"\w+Error(?= \()", errors.__doc__)
    assert {kind.__name__ for kind in kinds} == {"FedirlError", *listed}


def test_the_package_is_marked_as_typed():
    assert (Path(fedirl_ray.__file__).parent / "py.typed").is_file()
