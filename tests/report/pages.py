"""Reading pages of reports."""


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of the table below a heading."""
    section = page.partition(f"## {heading}")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ][2:]
