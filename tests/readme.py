"""The README's results are those committed: ``python -m tests.readme`` puts them in, a test holds the two together."""

from tests.conftest import ROOT

BEGIN, END = "<!-- from results/classic/table.md, by python -m tests.readme -->", "<!-- end -->"


def committed() -> str:
    """The headline, fractions and summary of the classic suite."""
    return (ROOT / "results" / "classic" / "table.md").read_text().partition("**classic: mean scores")[0].strip()


def shown() -> str:
    """What the README says of them."""
    return (ROOT / "README.md").read_text().partition(BEGIN)[2].partition(END)[0].strip()


def write() -> None:
    """Put the committed results into the README."""
    text = (ROOT / "README.md").read_text()
    before, _, rest = text.partition(BEGIN)
    (ROOT / "README.md").write_text(f"{before}{BEGIN}\n{committed()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    write()
