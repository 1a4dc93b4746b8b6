"""Flite's voices from the Debian packages flite and libflite1: an engine nobody trains on here.

Fetched and unpacked without root (`askd.packages`); each clip is one run of the program, so that nothing remains from the
clip before. ``slt``, ``rms`` and ``awb`` are statistical parametric voices (16 kHz), ``kal`` (8 kHz) and ``kal16`` diphones.
"""

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path

import numpy as np

from askd.errors import AskdError, pick

PACKAGES = ("libflite1", "flite")


@functools.cache
def _program() -> tuple[str, dict[str, str], tuple[str, ...]]:
    """The program, the environment it runs in, and the voices it lists.

    Raises:
        PackageUnavailable: no apt here, or packages that do not run on this system.
    """
    from askd.packages import PackageUnavailable, unpacked

    folders = [unpacked(package) for package in PACKAGES]
    if not find_library("asound"):  # linked, though never called when writing to a file
        try:
            folders.append(unpacked("libasound2"))
        except PackageUnavailable:
            folders.append(unpacked("libasound2t64"))  # its name since Debian 13 and Ubuntu 24.04
    libraries = os.pathsep.join(str(path) for folder in folders for path in folder.glob("usr/lib/*-linux-*"))
    program, environment = str(folders[1] / "usr/bin/flite"), {**os.environ, "LD_LIBRARY_PATH": libraries}
    try:
        listed = subprocess.run([program, "-lv"], env=environment, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise PackageUnavailable(f"the package flite does not run here ({reason}): its voices are left out") from None
    general = [name for name in listed.partition(":")[2].split() if name != "awb_time"]  # that one tells the time alone
    return program, environment, tuple(general)


def flite_voice(voice: str) -> Callable[[str, float, int], tuple[np.ndarray, int]]:
    """``slt``, ``rms``, ``awb``, ``kal16`` or ``kal`` -> ``(text, stretch, seed) -> (samples, rate_hz)``.

    Raises:
        PackageUnavailable: the packages cannot be had on this machine.
        UnknownName: no such voice.
    """
    program, environment, known = _program()
    pick("flite voice", voice, dict.fromkeys(known))

    def speak(text: str, stretch: float, _seed: int) -> tuple[np.ndarray, int]:
        import soundfile

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "speech.wav"
            result = subprocess.run(
                [program, "-voice", voice, "--setf", f"duration_stretch={stretch:.6f}", "-t", text, "-o", str(path)],
                env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            )
            if result.returncode or not path.is_file():
                raise AskdError(f"flite could not speak {text!r}: {result.stderr.strip() or f'exit {result.returncode}'}")
            return soundfile.read(path, dtype="float32")

    return speak
