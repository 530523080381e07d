"""The demo as `make demo` starts it, on a short drive: every frame accounted for, a report left."""

import json
import os
import re
import subprocess
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")
FRAMES = 30


def test_every_frame_of_a_played_drive_is_accounted_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [CHECKOUT / "scripts" / "ros_python", CHECKOUT / "scripts" / "demo"]
        + ["--bin", TARGET / "debug", "--out", tmp_path, "--frames", str(FRAMES)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    account = re.search(r"(\d+) frames sent = (.*)", done.stdout)
    assert account, done.stdout
    parts = [int(count) for count in re.findall(r"\d+(?= [a-z])", account[2])]
    assert int(account[1]) == FRAMES == sum(parts), account[0]

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == parts[0] > 0
    # The weights know the made world; masks of other frames, or of another size, would not score.
    assert report["miou"] > 0.6
    page = (tmp_path / "report.html").read_text()
    assert account[0] in page and "data:image/" in page
    # The drive has calibration and poses: what is free is drawn, beside the overlay.
    assert "<h2>Drivable area</h2>" in page
    with Image.open(tmp_path / "drivable_area.jpg") as picture:
        width, height = picture.size
        ahead = picture.convert("RGB").getpixel((width - 270, height - 260))
    assert ahead[1] > ahead[0] and ahead[1] > ahead[2], "no free ground 8 m ahead on the road"
