"""Puts weights_manifest.json, which stands at the top of the repository, beside the code that reads it in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithManifest(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copy("weights_manifest.json", Path(self.build_lib) / "medzoo" / "zoo")


setup(cmdclass={"build_py": BuildWithManifest})
