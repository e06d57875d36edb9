"""The command line: what wins, what is refused and how, and what a refusal leaves behind."""

import ast
import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import fedirl_ray
from fedirl_ray import config
from fedirl_ray.cli import PROG, load, settings
from fedirl_ray.command.federate import Invocation
from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError
from fedirl_ray.presets import names, studies
from fedirl_ray.run import COMMANDS, main

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(*argv, schema=Invocation, whole=False):
    return load(schema, argv, prog="prog", description="A manual.", whole=whole)


def write(tree, path="mine.yaml"):
    with open(path, "w") as file:
        file.write(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def test_without_arguments_the_defaults_hold():
    assert read() == Invocation()


def test_a_file_beats_the_defaults_and_a_flag_beats_the_file():
    path = write({"clients": 5, "fusion": {"epsilon": 0.1, "rules": ["mean", "median"]}})
    found = read(path, "--fusion.epsilon", "0.2", "--seed", "7")
    assert (found.clients, found.seed, found.seeds) == (5, 7, 20)
    assert found.fusion == FusionConfig(epsilon=0.2, rules=("mean", "median"))


def test_of_two_flags_the_last_wins():
    assert read("--clients", "4", "--clients", "6").clients == 6


@pytest.mark.parametrize(
    "words",
    [["--fusion.rules", "mean,local"], ["--fusion.rules=mean,local"],
     ["--fusion.rules", "mean", "local"], ["--fusion.rules", "mean,", "local"],
     ["--fusion.rules", " mean ,local"]],
)  # fmt: skip
def test_lists_are_written_with_commas_spaces_or_both(words):
    assert read(*words).fusion.rules == ("mean", "local")


PAIRS = "clients asked in a round must be at least 2 for register, which compares their maps, got 1"


@pytest.mark.parametrize("text", ["[mean, local]", "mean,local", "mean, local", "mean local"])
def test_a_file_writes_lists_as_lists_or_as_flags_do(text):
    path = write(f"fusion:\n  rules: {text}\n")
    assert read(path).fusion.rules == ("mean", "local")


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("FALSE", False), ("True", True), ("yes", True), ("No", False)],
)
def test_yes_and_no_are_read_in_any_case(word, value):
    assert read("--record.figure", word).record.figure is value
    assert read(write(f"record: {{figure: {word}}}")).record.figure is value


def test_a_group_that_is_named_in_part_keeps_the_rest_of_its_own_default():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd:
        fusion: FusionConfig = dataclasses.field(default_factory=lambda: FusionConfig(floor=0.2))

    found = read("--fusion.epsilon", "0.25", schema=Odd)
    assert found.fusion == FusionConfig(floor=0.2, epsilon=0.25)


def test_nothing_but_a_manual_imports_the_parser_of_manuals():
    code = "import sys; from fedirl_ray.run import main; main(['--clients', '0']); "
    code += "sys.exit('tyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_what_is_imported_before_signals_are_heeded_is_light():
    code = "import sys, fedirl_ray.run; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("words", [["--fusion.epsilon=.25"], ["--fusion.epsilon", "25e-2"]])
def test_a_value_may_follow_an_equals_sign(words):
    assert read(*words).fusion.epsilon == 0.25


def test_underscores_are_as_good_as_dashes():
    found = read("--run_dir", "x", "--evaluation.held_out", "3")
    assert (str(found.run_dir), found.evaluation.held_out) == ("x", 3)
    assert read(write("evaluation:\n  held_out: 4\n")).evaluation.held_out == 4


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "fusion:\n  epsilon: 1e-3\n", "problem:\n  horizon: null\n",
     "record:\n  figure: false\n", "fusion.epsilon: 0.1\n"],
)  # fmt: skip
def test_yaml_in_all_its_spellings_is_read(text):
    found = read(write(text))
    assert found.fusion.epsilon == (1e-3 if "1e-3" in text else 0.1 if "0.1" in text else 0.5)
    assert found.record.figure == ("false" not in text)
    assert found.problem.horizon is None


ODD = RunConfig(
    clients=7,
    seed=12345678901234567890,
    problem=ProblemConfig(name="a b:c", horizon=9, demonstrations_file="/x/y z.npz", slip=1 / 3),
    fusion=FusionConfig(sigma=2.5, mass=1e-9, rules=("expert", "mean"), intercept=True),
)


@pytest.mark.parametrize(
    "run",
    [
        Invocation(),
        RunConfig(),
        ODD,
        dataclasses.replace(
            RunConfig(), evaluation=dataclasses.replace(RunConfig().evaluation, discounts=())
        ),
    ],
    ids=["invocation", "default", "odd", "empty list"],
)
def test_a_configuration_written_down_reads_back_the_same(run):
    path = write(settings(run))
    again = read(path, schema=type(run), whole=True)
    assert settings(again) == settings(run)
    write(settings(again), "again.yaml")
    assert read("again.yaml", schema=type(run), whole=True) == again


RULES = (
    "mean, masked-mean, median, trimmed, geometric-median, precision, blur, register, arithmetic, "
    "barycenter, debiased, gibbs, signed, signed-median, self-control, self-debiased, self-gibbs, "
    "self-signed, self-signed-median, self-blur, select, auto, local, personal, fine-tuned, "
    "pooled, expert, ceiling, true, plus-one, minus-one, random-1, random-2 or module:function"
)


def refuse(capsys, *argv):
    """Run the command; it must end with code 2, one line, and nothing left behind."""
    write("x", "regular")
    before = {path.name for path in Path().iterdir()}
    code = main(list(argv))
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err
    assert {path.name for path in Path().iterdir()} == before
    return said.err[:-1]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--problem.name", "Nosuch-v1"], "problem.name must be GridWorld, SitesWorld, "
         "FrozenLake-v1, CliffWalking-v1, Taxi-v4, Pendulum-v1, CartPole-v1, "
         "Acrobot-v1, LunarLanderContinuous-v3 or module:function, got 'Nosuch-v1'"),
        (["--problem.name", "Taxi-v3"], "problem.name Taxi-v3 is out of date, use Taxi-v4"),
        (["--problem.name", "nosuch:world"], "problem.name must be module:function that can be "
         "imported from here, got 'nosuch:world' (ModuleNotFoundError: No module named 'nosuch')"),
        (["--clients", "0"], "clients must be an integer >= 1, got 0"),
        (["--clients", "-3"], "clients must be an integer >= 1, got -3"),
        (["--clients=2.5"], "clients must be an integer, got '2.5'"),
        (["--clients"], "clients must have one value, got none"),
        (["--clients", "3", "4"], "clients must have one value, got 3 4"),
        (["--seeds", "0"], "seeds must be an integer >= 1, got 0"),
        (["--seed", "-1"], "seed must be an integer >= 0, got -1"),
        (["--problem.obstacles", "0.9"], "problem.obstacles must leave a path from corner to "
         "corner, at most 0.69 with problem.size 5, got 0.9"),
        (["--problem.obstacles", "1.5"], "problem.obstacles must be in [0, 1], got 1.5"),
        (["--problem.size", "1"], "problem.size must be an integer >= 2, got 1"),
        (["--problem.horizon", "soon"], "problem.horizon must be an integer or None, got 'soon'"),
        (["--fusion.epsilon", "0"], "fusion.epsilon must be > 0 and finite, got 0.0"),
        (["--fusion.epsilon", "-1"], "fusion.epsilon must be > 0 and finite, got -1.0"),
        (["--fusion.epsilon=-1"], "fusion.epsilon must be > 0 and finite, got -1.0"),
        (["--fusion.epsilon", "nan"], "fusion.epsilon must be > 0 and finite, got nan"),
        (["--fusion.epsilon", "inf"], "fusion.epsilon must be > 0 and finite, got inf"),
        (["--fusion.epsilon", "1e-308"],
         "fusion.epsilon must be in [1e-100, 1e+100], got 1e-308"),
        (["--irl.temperature", "1e101"],
         "irl.temperature must be in [1e-100, 1e+100], got 1e+101"),
        (["--irl.l2", "1e308"], "irl.l2 must be 0 or in [1e-100, 1e+100], got 1e+308"),
        (["--irl.l2", "-1"], "irl.l2 must be >= 0 and finite, got -1.0"),
        (["--federation.proximal", "inf"], "federation.proximal must be >= 0 and finite, got inf"),
        (["--fusion.epsilon", "abc"], "fusion.epsilon must be a number, got 'abc'"),
        (["--fusion.tau", "1"], "fusion.tau must be in [0, 1), got 1.0"),
        (["--fusion.tau", "-0.1"], "fusion.tau must be in [0, 1), got -0.1"),
        (["--fusion.tau", "nan"], "fusion.tau must be in [0, 1), got nan"),
        (["--fusion.blur-width", "0"], "fusion.blur-width must be > 0 and finite, got 0.0"),
        (["--fusion.rules", "mean,signed", "--fusion.measure", "gibbs"],
         "fusion.measure must be shift for mean,signed, none of which reads it, got gibbs"),
        (["--fusion.rules", "mean,gibbs,register", "--fusion.gibbs-temperature", "2"],
         "fusion.gibbs-temperature must be 1.0 for mean,gibbs,register, none of which reads it, "
         "got 2.0"),
        (["--fusion.rules", "mean,register", "--clients", "1"], PAIRS),
        (["--fusion.rules", "mean,register", "--federation.participation", "0.3"], PAIRS),
        (["--fusion.rules", "mean,auto", "--fusion.candidates", "register", "--clients", "1"],
         PAIRS),
        (["--fusion.sigma", "abc"], "fusion.sigma must be shared, client or a number, got 'abc'"),
        (["--fusion.rules", "mean,nosuch"], f"fusion.rules must be {RULES}, got 'nosuch'"),
        (["--fusion.rules", "mean,barycentre"],
         f"fusion.rules must be {RULES}, got 'barycentre'; did you mean barycenter?"),
        (["--fusion.rules", "mean,,local"], f"fusion.rules must be {RULES}, got ''"),
        (["--fusion.rules", "mean,mine:"], f"fusion.rules must be {RULES}, got 'mine:'"),
        (["--fusion.rules", "mean,a-b:rule"], f"fusion.rules must be {RULES}, got 'a-b:rule'"),
        (["--fusion.rules", "mean,mine:mean"], "fusion.rules must be a function whose name is none "
         f"of {RULES.removesuffix(' or module:function')}, got mine:mean"),
        (["--fusion.rules", "mean,nosuch:rule"], "fusion.rules must be module:function that can be "
         "imported from here, got 'nosuch:rule' (ModuleNotFoundError: No module named 'nosuch')"),
        (["--fusion.rules", "mean,math:nosuch"], "fusion.rules must be module:function that can be "
         "imported from here, got 'math:nosuch' (no such function in math)"),
        (["--fusion.measure", "gibs"],
         "fusion.measure must be shift or gibbs, got 'gibs'; did you mean gibbs?"),
        (["--problem.slip", "-0.0"], "problem.slip must be in [0, 1], got -0.0"),
        (["--clients", "9" * 5000], f"clients must be an integer, got '{'9' * 80}...'"),
        (["--seed", "-" + "9" * 4000], f"seed must be an integer >= 0, got -{'9' * 199}..."),
        (["--run-dir", "a\0b"],
         "run-dir must be text without NUL, in UTF-8, got 'a\\x00b'"),
        (["--problem.name", "\udcff:x"],
         "problem.name must be text without NUL, in UTF-8, got '\\udcff:x'"),
        (["--resume", "\x1b[31mred\n"], "resume must be the folder of a run (with config.yaml), "
         "got \\x1b[31mred\\n"),
        (["--fusion.rules", "local"], "fusion.rules must be a list with mean, which the others "
         "are compared to, got local"),
        (["--fusion.rules"], "fusion.rules must be a list with mean, which the others are "
         "compared to, got none"),
        (["--fusion.rules", "mean,mean"], "fusion.rules must be named once each, got mean"),
        (["--evaluation.discounts", ".9,2"], "evaluation.discounts must be in (0, 1], got 2.0"),
        (["--record.figure", "si"], "record.figure must be true, false, yes or no, got 'si'"),
        (["--record.progress", "no"], "no setting is called --record.progress; did you mean "
         "--progress?"),
        (["--log-level", "loud"], "log-level must be debug, info, warning or error, got 'loud'"),
        (["--engine.clients-per-actor", "0"],
         "engine.clients-per-actor must be auto or an integer >= 1, got 0"),
        (["--resume", "nosuch"], "resume must be the folder of a run (with config.yaml), "
         "got nosuch"),
        (["--resume", "a", "--run-dir", "b"], "resume must be given without run-dir, got a"),
        (["--run-dir", "regular/run"],
         "run-dir must be a folder that can be written, got regular/run: Not a directory"),
        (["--run-dir", "regular"],
         "run-dir must be a folder that can be written, got regular: File exists"),
        (["--fuson.epsilon", "1"], "no setting is called --fuson.epsilon; did you mean "
         "--fusion.epsilon?"),
        (["--client", "1"], "no setting is called --client; did you mean --clients?"),
        (["--qqq", "1"], "no setting is called --qqq; see --help"),
        (["-x"], "settings start with --, got '-x'; see --help"),
        (["pendulum", "3"], "settings start with --, got '3'; see --help"),
        (["federat"], "no command, settings file or preset is called federat; did you mean "
         "federate?"),
        (["pendulm"], "no command, settings file or preset is called pendulm; did you mean "
         "pendulum?"),
        (["nosuch.yaml"], "nosuch.yaml must be a readable YAML file: No such file or directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_refused_in_one_line_with_field_value_and_law(capsys, argv, line):
    assert refuse(capsys, *argv) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("fedration:\n  rounds: 2\n", "mine.yaml: no setting is called --fedration.rounds; did "
         "you mean --federation.rounds?"),
        ("- 1\n- 2\n", "mine.yaml must be a mapping of settings, got a list"),
        ("hello\n", "mine.yaml must be a mapping of settings, got a str"),
        ("clients: many\n", "mine.yaml: clients must be an integer, got 'many'"),
        ("clients: null\n", "mine.yaml: clients must be an integer, got 'None'"),
        ("clients: [1, 2]\n", "mine.yaml: clients must have one value, got 1 2"),
        ("clients: {a: 1}\n", "mine.yaml: no setting is called --clients.a; did you mean "
         "--clients?"),
        ("clients: 0\n", "clients must be an integer >= 1, got 0"),
        ("clients: [2, --seeds, 1]\n", "mine.yaml: clients must not hold a flag, got '--seeds'"),
        ("problem: {name: --seeds=1}\n", "mine.yaml: problem.name must not hold a flag, got "
         "'--seeds=1'"),
        ("clients: -h\n", "mine.yaml: clients must not hold a flag, got '-h'"),
        ("help: x\n", "mine.yaml: no setting is called --help; see --help"),
        ('run-dir: "a\\0b"\n', "mine.yaml: run-dir must be text without NUL, in UTF-8, got "
         "'a\\x00b'"),
        ("1: 2\n", "mine.yaml must be a YAML file: keys must be words, got 1"),
        ("? [a]\n: 2\n", "mine.yaml must be a YAML file: keys must be words, got a sequence"),
        ("clients: 2\nclients: 3\n", "mine.yaml must be a YAML file: the key clients stands "
         "there twice"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(capsys, text, line):
    assert refuse(capsys, write(text)) == line


@pytest.mark.parametrize(
    "text", ["a: [1\n", "a: b: c\n", "seed: !!python/object/apply:os.getcwd []\n", "\t- x"]
)
def test_a_file_that_is_no_yaml_is_refused_in_one_line(capsys, text):
    assert refuse(capsys, write(text)).startswith("mine.yaml must be a YAML file: ")


def test_a_file_that_is_no_text_is_refused_in_one_line(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    assert refuse(capsys, "mine.yaml").startswith("mine.yaml must be a YAML file: ")


@pytest.mark.parametrize("steps", [None, 4])
def test_demonstrations_that_do_not_fit_are_refused_in_one_line(capsys, steps):
    if steps is not None:
        table = np.zeros((3, steps), dtype=int)
        np.savez("demos.npz", client=np.arange(3), states=table, actions=table)
    said = refuse(capsys, "--problem.demonstrations-file", "demos.npz")
    assert said.startswith("problem.demonstrations-file demos.npz")
    assert said.endswith(
        "states must have shape (3, 30) (episodes, horizon), got (3, 4)"
        if steps
        else "must be a readable .npz of plain arrays, got: no such file"
    )


def test_what_the_last_client_cannot_have_done_is_refused_before_anything_is_written(capsys):
    states = np.zeros((3, 30), dtype=int)
    states[2, 4:] = 24  # across the grid in one step
    np.savez("demos.npz", client=np.arange(3), states=states, actions=0 * states)
    said = refuse(capsys, "--problem.demonstrations-file", "demos.npz", "--run-dir", "mine")
    assert said.startswith("problem.demonstrations-file demos.npz: client 2, episode 0, step 3: ")


@pytest.mark.parametrize("where", [[], ["--run-dir", "mine"]])
def test_what_only_the_run_itself_can_judge_leaves_no_folder_either(capsys, where):
    small = ["--engine.backend", "local", "--problem.size", "3", "--progress", "False"]
    said = refuse(capsys, "--fusion.sigma", "0.001", *small, *where)
    assert said.startswith("fusion.sigma must exceed ")
    assert said.endswith("to make every client's reward positive, got 0.001")


def test_a_folder_with_other_things_in_it_is_never_touched(capsys, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    assert refuse(capsys, "--run-dir", "mine") == (
        "run-dir must be a new or empty folder, got mine; --overwrite true replaces a run"
    )
    assert refuse(capsys, "--run-dir", "mine", "--overwrite", "True") == (
        "run-dir must hold nothing but what is to be overwritten, got mine with thesis.txt"
    )
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_an_unknown_command_is_refused_with_those_there_are(capsys):
    said = refuse(capsys, "zzz")
    assert said == (
        f"no command, settings file or preset is called zzz; commands: {', '.join(COMMANDS)}; "
        f"presets: {', '.join(names())}"
    )


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["--help", "federate"]])
def test_the_first_screen_lists_the_commands(capsys, argv):
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    for command in COMMANDS:
        assert [line for line in lines if line.startswith(f"  {command} ")]


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"federate"}))  # which is tried below
def test_every_command_says_its_settings(capsys, command):
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: {PROG}")
    long = command not in ("presets", "report")
    for flag in ("--run-dir", "--overwrite", "--progress", "--log-level") if long else ():
        assert f"{flag} " in text


def test_the_program_is_called_what_was_typed():
    code = "import sys; sys.argv = ['/somewhere/fedirl', 'report']; import runpy; "
    code += "runpy.run_module('fedirl_ray.run', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.endswith("got none; fedirl report --help shows how\n")


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fedirl_ray {fedirl_ray.__version__}\n"


def test_presets_and_studies_are_listed_a_line_each(capsys):
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(names()) + len(studies())
    for name in (*names(), *studies()):
        (line,) = [line for line in lines if line.split()[0] == name]
        assert line.endswith((".", "?"))
        assert len(line.split()) > 4
    assert studies() == sorted(path.stem for path in ROOT.glob("sweeps/*.yaml"))


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("regularization", "no study file is called regularization; did you mean regularisation?"),
        ("zzz", f"no study file is called zzz; those of the package: {', '.join(studies())}"),
        ("scale.yaml", "scale.yaml must be a readable YAML file: No such file or directory"),
    ],
)
def test_a_misspelt_study_is_refused_in_one_line(capsys, word, line):
    assert refuse(capsys, "sweep", word) == line


def test_what_version_0_1_wrote_is_read():
    path = write({"record": {"progress": False, "figure": False}, "clients": 4})
    assert read(path) == read("--record.figure", "no", "--clients", "4")
    assert read(write({"record.progress": True})) == read()


def test_without_a_terminal_progress_is_told_in_plain_lines(capsys):
    small = ("--seeds", "2", "--clients", "2", "--problem.size", "3", "--engine.backend", "local",
             "--record.figure", "no", "--fusion.rules", "mean")  # fmt: skip
    assert main([*small, "--run-dir", "a"]) == 0
    said = capsys.readouterr().err
    assert re.fullmatch(r"(seeds[^:]*: 1 of 2 \(0:00:\d\d\)\n)?seeds: 2 of 2 \(0:00:\d\d\)\n", said)
    for quiet in (("--progress", "no"), ("--log-level", "warning")):
        assert main([*small, "--run-dir", "b", "--overwrite", "yes", *quiet]) == 0
        assert capsys.readouterr().err == ""
    assert main([*small, "--run-dir", "c", "--progress", "no", "--log-level", "debug"]) == 0
    assert capsys.readouterr().err.startswith("placed: 2 clients in the driver's process\n")


@pytest.mark.parametrize("argv", [["federate", "--help"], ["--clients", "3", "-h"]])
def test_help_is_a_manual_with_every_group(capsys, argv):
    with pytest.raises(SystemExit, match=r"^0$"):
        main(argv)
    text = capsys.readouterr().out
    for group in ("problem", "irl", "fusion", "federation", "evaluation", "engine", "record"):
        assert f"--{group}." in text
    for flag in ("--clients", "--seeds", "--run-dir", "--overwrite", "--progress", "--log-level"):
        assert f"{flag} " in text
    assert f"{PROG} mine.yaml" in text


def test_every_setting_has_a_help_text():
    for schema in ast.parse(Path(config.__file__).read_text()).body:
        if isinstance(schema, ast.ClassDef):
            for entry, after in itertools.pairwise([*schema.body, None]):
                if not isinstance(entry, ast.AnnAssign):
                    continue
                if not ast.unparse(entry.annotation).endswith("Config"):  # no group of settings
                    told = isinstance(after, ast.Expr) and isinstance(after.value.value, str)
                    assert told, f"{schema.name}.{entry.target.id}"


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        (["--fusion.epsilon", "0"], 2, "fusion.epsilon must be > 0 and finite, got 0.0\n"),
        (["--problem.name", "Nosuch-v1"], 2, "problem.name must be GridWorld, "),
        (["--clients", "x"], 2, "clients must be an integer, got 'x'\n"),
    ],
)
def test_a_real_process_ends_with_code_two_and_one_line(tmp_path, argv, code, line):
    done = subprocess.run(
        [sys.executable, "-m", "fedirl_ray.run", *argv], capture_output=True, text=True
    )
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_that_exists_can_be_run():
    with pytest.raises(ConfigError, match=r"^fusion\.epsilon must be > 0 and finite, got nan$"):
        FusionConfig(epsilon=float("nan"))


@pytest.mark.parametrize(
    ("words", "held_out"),
    [
        ([], ()),
        (["--control.held-out", "0.5,9"], (0.5, 9.0)),
        (["--control.held-out", "0.5", "9"], (0.5, 9.0)),
        (["--control.held-out"], ()),
    ],
)
def test_a_list_of_numbers_is_read_and_fed_back(words, held_out):
    found = read(*words)
    assert found.control.held_out == held_out
    assert read(write(settings(found))) == found
