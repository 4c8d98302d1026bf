"""What a build depends on besides its script, and the preimages that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from obuild.context import BuildContext
from obuild.engine import Limits
from obuild.errors import SourceError
from obuild.ir.manifest import Manifest, executables
from obuild.ir.ops import Base
from obuild.ir.steps import CopyStep, RunStep
from obuild.keys import copy_preimage, key_of, run_preimage
from obuild.sexp import Sexp
from obuild.values import Value, field, replace

__all__ = ["Inputs", "Options", "Prepared"]


class Options(Value):
    """What the user asked for.

    ``pull`` fetches every base anew, ``pin`` writes its digest into its name; ``platform``
    (os/arch[/variant]) is asked of every base; ``network`` is the network of runs that name
    none; ``tags`` are names for the sealed result; ``replay`` shows the stored output of
    steps that are not run again; ``obuilder_keys`` leaves x bits out of keys.
    """

    obuilder_keys: bool = False
    pull: bool = False
    pin: bool = False
    platform: str | None = None
    network: str | None = None
    tags: tuple[str, ...] = ()
    replay: bool = False
    limits: Limits = Limits()


class Prepared(Value):
    """A step on a base of which the key is known."""

    key: str
    preimage: Sexp = field(repr=False)
    manifests: tuple[Manifest, ...] = ()
    executables: tuple[str, ...] = ()


class Inputs:
    """The build context, the secrets and the options of one build.

    ``context`` is opened at the first copy only. Nothing is read twice: a copy that was
    prepared for the plan is not prepared again for the build.
    """

    def __init__(
        self,
        context: Callable[[], BuildContext],
        secrets: Mapping[str, bytes],
        options: Options,
    ):
        self.secrets = secrets
        self.options = options
        self._open_context = context
        self._context: BuildContext | None = None
        self._manifests: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Manifest, ...]] = {}
        self._prepared: dict[tuple[str, RunStep | CopyStep], Prepared] = {}

    @property
    def context(self) -> BuildContext:
        """Raises ``ContextError`` if there is no such folder."""
        if self._context is None:
            self._context = self._open_context()
        return self._context

    def base(self, base: Base) -> Base:
        """The base as the options would have it written."""
        platform = self.options.platform
        return base if platform is None else replace(base, platform=platform)

    def prepare(self, parent: str, step: RunStep | CopyStep) -> Prepared | None:
        """The key of ``step`` on the snapshot ``parent``; None for a copy from a build.

        Raises ``SourceError`` or ``BuildError`` with the place of the op.
        """
        if isinstance(step, CopyStep) and step.build is not None:
            return None
        found = self._prepared.get((parent, step))
        if found is None:
            found = self._prepare(parent, step)
            self._prepared[parent, step] = found
        return found

    def _prepare(self, parent: str, step: RunStep | CopyStep) -> Prepared:
        if isinstance(step, RunStep):
            preimage = run_preimage(parent, step)
            return Prepared(key_of(preimage), preimage)
        manifests = self._read(step)
        runnable = executables(manifests)
        named = () if self.options.obuilder_keys else runnable
        preimage = copy_preimage(parent, step, manifests, named)
        return Prepared(key_of(preimage), preimage, manifests, runnable)

    def _read(self, step: CopyStep) -> tuple[Manifest, ...]:
        wanted = (step.sources, step.exclude)
        if wanted not in self._manifests:
            try:
                self._manifests[wanted] = tuple(
                    self.context.manifest(source, step.exclude) for source in step.sources
                )
            except SourceError as error:
                raise error.at(step.place) from None
        return self._manifests[wanted]
