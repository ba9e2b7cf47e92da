"""temporary"""


def summarise(screen, run_dir):
    return {"verify": "identical", "parents": {"sent": 0, "terminal": 0}}
