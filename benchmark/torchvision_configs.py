"""Let ``model=<any torchvision classifier>`` work without a YAML file for each."""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf


class TorchvisionConfigs(ConfigSource):
    """A place for Hydra to search, after ``conf/``: every classifier's name is a model there."""

    @staticmethod
    def scheme() -> str:
        """Return what ``hydra.searchpath`` calls this place."""
        return "torchvision"

    def load_config(self, config_path: str) -> ConfigResult:
        """Compose ``model/<name>`` as the YAML of the others would."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"torchvision has no {config_path}")
        name = config_path.removeprefix("model/")
        content = {"defaults": ["torchvision", "_self_"], "architecture": name}
        return ConfigResult(
            provider=self.provider,
            path=f"{self.scheme()}://{self.path}",
            config=OmegaConf.create(content),
            header={"package": None},
        )

    def available(self) -> bool:
        """Torchvision is always there."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Only ``model`` is a group here."""
        return config_path in {"", "model"}

    def is_config(self, config_path: str) -> bool:
        """Whether ``model/<name>`` names a classifier; torchvision is imported only to ask."""
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        if group != "model" or not name:
            return False
        import torchvision  # noqa: PLC0415 - takes seconds, and most command lines need no answer

        return name in torchvision.models.list_models(module=torchvision.models)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Name none: ``--help`` has to be quick, and the list is torchvision's own."""
        del config_path, results_filter
        return []
