"""Every file of ``figures/``, drawn from what lies in ``data/results``: no model, no training, the same bytes each time.

    python -m askd.committedfigures            # make figures: into figures/, of the profiles that the README shows
    draw(Path("figures"), Path("data/results"), scores="cpu", ablation="real")

A new one is one line of `SCORES` (made of ``askd publish``'s files), `ABLATION` (of ``askd ablate``'s) or `FIXED` (of any).
tests/test_committedfigures.py draws them all again and compares.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt

from askd import attentionfigures, figures, hero, latencyfigures, methodfigures, scorefigures
from askd.files import data_dir, project_dir, read_json

Draw = Callable[[Mapping], plt.Figure | None]  # None: there is nothing to draw in it


def _of_askd(how: Draw) -> Draw:
    """Nothing, of an ablation without ASKD."""
    return lambda ablation: how(ablation) if "askd" in ablation["methods"] else None


SCORES: dict[str, tuple[str, Draw]] = {  # figure: file below data/results/<profile of the scores>, how it is drawn
    "claims": ("claims.json", scorefigures.claims),
    "in_and_out": ("wer.json", scorefigures.in_and_out),
    "wer_by_domain": ("wer.json", figures.wer_by_domain),
}
ABLATION: dict[str, tuple[str, Draw]] = {  # the same below data/results/<profile of the ablation>
    "hero": ("ablation.json", _of_askd(hero.hero)),
    "blindspot": ("blindspot.json", lambda heard: attentionfigures.listening_figure(heard, ("teacher", "constant_kd", "askd"))),
    "ablation_wer": ("ablation.json", methodfigures.ablation_wer),
    "ablation_terms": ("ablation.json", _of_askd(lambda ablation: methodfigures.terms_over_training(ablation["curves"]))),
}
FIXED: dict[str, tuple[str, Draw]] = {  # the same below data/results
    "latency_pareto": ("latency/batch1.json", latencyfigures.pareto),
    "latency_scale": ("latency/large-v2.json", latencyfigures.scale),
}
SHOWN = {"scores": "cpu", "ablation": "real"}  # the profiles of the README


def drawings(results: Path, scores: str | None, ablation: str | None, fixed: bool) -> dict[str, Callable[[], plt.Figure | None]]:
    """Figures by file name, each a function that draws it; one whose file is not there is left out.

    Args:
        results: ``data/results``.
        scores, ablation: profiles; None leaves theirs out.
        fixed: with those of no profile.
    """
    found = {}
    for profile, table in ((scores, SCORES), (ablation, ABLATION), ("." if fixed else None, FIXED)):
        for name, (file, how) in table.items() if profile else ():
            if (path := results / profile / file).is_file():
                found[name] = lambda path=path, how=how: how(read_json(path))
    return found


def draw(folder: Path, results: Path, scores: str | None = None, ablation: str | None = None, fixed: bool = False) -> list[str]:
    """Write ``<name>.png`` and ``.svg`` of all `drawings` into a folder; their names."""
    drawn = []
    for name, how in drawings(results, scores, ablation, fixed).items():
        if figure := how():
            figures.save(figure, folder / name)
            plt.close(figure)
            drawn.append(name)
    return drawn


def main() -> None:
    """Draw ``figures/`` again."""
    names = draw(project_dir() / "figures", data_dir() / "results", **SHOWN, fixed=True)
    print(f"figures/: {', '.join(names)}")


if __name__ == "__main__":
    main()
