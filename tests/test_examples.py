"""The example files do what they say."""

import ast
import json
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = json.loads((EXAMPLES / "photographs.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SMALL = """
from pathlib import Path
photos, work = Path("photos"), Path("photos-project")
backbone, weights, size = "test_resnet", "random", 32
first, more = 3, 6
steps = 4
"""


def test_exact_feedback_is_the_labelled_loss_that_each_label_saves():
    """By autograd through the student's step, which shares nothing with the forward-mode product."""
    example = runpy.run_path(str(EXAMPLES / "exact_feedback.py"))
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.nn.Linear(4, 3).double() for _ in range(2))
    x_l, x_u = (torch.randn(n, 4, dtype=torch.float64, generator=generator) for n in (5, 6))
    y_l, rate = torch.arange(5) % 3, 0.3
    q = teacher(x_u).softmax(-1).detach().requires_grad_()
    weights = [p.detach().clone().requires_grad_() for p in student.parameters()]
    loss = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x_u, *weights), q)
    moved = [w - rate * g for w, g in zip(weights, torch.autograd.grad(loss, weights, create_graph=True), strict=True)]
    after = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x_l, *moved), y_l)
    expected = -len(x_u) * torch.autograd.grad(after, q)[0]
    optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net in (student, teacher)]
    feedback = example["feedback_step"](student, teacher, x_l, y_l, x_u, optimizers)
    torch.testing.assert_close(feedback, expected, rtol=0, atol=1e-9)
    assert feedback.abs().max() > 1e-3, "a vanishing feedback would make this test vacuous"


def test_the_example_trains_a_student_that_is_better_than_chance(capsys):
    assert runpy.run_path(str(EXAMPLES / "exact_feedback.py"))["main"](steps=100) > 0.7
    assert "nats" in capsys.readouterr().out


def write_photographs(root: Path) -> None:
    """Cuts the two photographs that scikit-learn ships into squares: a folder for each."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    for name, pixels in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (root / name).mkdir(parents=True)
        for n in range(20):
            top, left = 80 * (n // 5), 120 * (n % 5)
            Image.fromarray(pixels[top : top + 80, left : left + 120]).save(root / name / f"{n:02}.jpg")


def run_cell(source: str, names: dict) -> object:
    """Runs a cell as a notebook does; returns the value of its last expression."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last is not None else None


@pytest.mark.slow
def test_the_notebook_goes_the_whole_way_on_photographs(tmp_path, monkeypatch, capsys):
    import matplotlib

    monkeypatch.setattr(matplotlib, "rcParams", matplotlib.rcParams.copy())
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "photos")
    names: dict = {}
    values = {}
    for cell in CODE:
        source = SMALL if cell["id"] == "settings" else "".join(cell["source"])
        values[cell["id"]] = run_cell(source, names)
    assert "40 photographs, 10 of them for testing" in capsys.readouterr().out
    assert values["training"].to_numpy().sum() == 10
    assert len(names["project"].labels) == 10 + 2 * 3 + 6 - 1, "one label was taken back"
    assert "predict.py" in values["exporting"]
    assert values["labels-export"].sum() == 30 - 12, "the run has no prediction for what it had a label of"
    assert len(list((tmp_path / "photos").rglob("*.jpg"))) == 40


def test_the_notebook_is_stored_as_it_ran_from_top_to_bottom():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    outputs = [output for cell in CODE for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert "/home/" not in json.dumps(outputs) and "/tmp/" not in json.dumps(outputs)
