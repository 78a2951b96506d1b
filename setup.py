"""Build step that pyproject.toml cannot say: marker tables, taxonomies and annotations go into the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithResources(build_py):
    """Copy ``resources/`` beside the package's modules, where `stnuclei.resources` looks for them."""

    def run(self) -> None:
        """Build, then copy; an editable installation uses the clone's folder as it is."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "stnuclei" / "shipped"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("resources", target)


setup(cmdclass={"build_py": BuildWithResources})
