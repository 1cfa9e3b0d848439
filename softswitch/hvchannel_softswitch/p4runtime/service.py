# SPDX-License-Identifier: Apache-2.0
"""The P4Runtime service: its six RPCs, each with its checks in the order the specification gives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from finsy.proto import p4r
from google.protobuf.message import DecodeError, Message

from hvchannel_softswitch.p4runtime.arbitration import Arbitration
from hvchannel_softswitch.p4runtime.atomic import apply_all_or_none
from hvchannel_softswitch.p4runtime.batches import Batch, split
from hvchannel_softswitch.p4runtime.device import Device, Sinks
from hvchannel_softswitch.p4runtime.errors import Code, P4RuntimeError, batch_status, invalid
from hvchannel_softswitch.p4runtime.idle_timeouts import IdleNotifier
from hvchannel_softswitch.p4runtime.pipeline import Pipeline, build_pipeline, left_pipeline, verify
from hvchannel_softswitch.p4runtime.reconcile import carry_over
from hvchannel_softswitch.p4runtime.replication import recover_groups
from hvchannel_softswitch.p4runtime.stream import Streams
from hvchannel_softswitch.p4runtime.translations import Mappings, Translations
from hvchannel_softswitch.p4runtime.updates import apply_batch, apply_each, read_entities
from hvchannel_softswitch.rpc import RpcError, StreamingMethod, UnaryMethod

API_VERSION = "1.5.0"

CHUNK = 500
"""Entities in one ReadResponse, far below the 4 MB that clients accept by default."""

_NO_PIPELINE = "No forwarding pipeline config set for this device"
_SERVICE = p4r.DESCRIPTOR.services_by_name["P4Runtime"].full_name

_log = structlog.get_logger(__name__)

_Request = TypeVar("_Request", bound=Message)


class P4RuntimeService:
    """One device. Every request is handled whole on the event loop, between two frames of the data path that share it:
    so requests are serialised, a Read sees no half of a Write, and neither does a frame."""

    def __init__(self, device_id: int, device: Device, mappings: Mappings | None = None) -> None:
        """`mappings`: of @p4runtime_translation's URIs (see `translations`)."""
        self._device = device
        self._translations = Translations(mappings)
        self._arbitration = Arbitration(device_id)
        self._current: Pipeline | None = None
        self._running: Pipeline | None = None
        self.streams = Streams(self._arbitration, device, lambda: self._running)
        self.counts = self.streams.counts
        idle = IdleNotifier(lambda: self._running, self.streams.send_to_primaries)
        device.subscribe(Sinks(self.streams.on_cpu_frame, self._on_digest, idle.add))
        self._take_over()

    def _take_over(self) -> None:
        config = self._device.left()
        if config is None:
            return
        try:
            self._current = self._running = left_pipeline(
                self._device, config, self.streams.send_digests, self._translations
            )
            recover_groups(self._current)
        except (P4RuntimeError, OSError, ValueError) as error:
            _log.warning("pipeline_not_taken_over", note="it runs until another is set", reason=str(error))

    def close(self) -> None:
        """Cancels the timers of the pipelines."""
        for pipeline in (self._current, self._running):
            if pipeline is not None:
                pipeline.quiet()

    @property
    def unary(self) -> Mapping[str, UnaryMethod]:
        """The RPCs of one answer, by their path."""
        return {
            f"/{_SERVICE}/Capabilities": _unary(p4r.CapabilitiesRequest, self.capabilities),
            f"/{_SERVICE}/Write": _refusing(self.write),
            f"/{_SERVICE}/SetForwardingPipelineConfig": _unary(
                p4r.SetForwardingPipelineConfigRequest, self.set_pipeline
            ),
            f"/{_SERVICE}/GetForwardingPipelineConfig": _unary(
                p4r.GetForwardingPipelineConfigRequest, self.get_pipeline
            ),
        }

    @property
    def streaming(self) -> Mapping[str, StreamingMethod]:
        """The RPCs of many answers, by their path."""
        return {
            f"/{_SERVICE}/Read": _streaming(p4r.ReadRequest, self.read),
            f"/{_SERVICE}/StreamChannel": _streaming(p4r.StreamMessageRequest, self.stream_channel),
        }

    def capabilities(self, request: p4r.CapabilitiesRequest) -> p4r.CapabilitiesResponse:
        """The version of the API. A device id of 0 asks for what holds for any device."""
        if request.device_id:
            self._arbitration.check_device(request.device_id)
        return p4r.CapabilitiesResponse(p4runtime_api_version=API_VERSION)

    def set_pipeline(
        self, request: p4r.SetForwardingPipelineConfigRequest
    ) -> p4r.SetForwardingPipelineConfigResponse:
        """Verifies, saves, commits or reconciles a pipeline."""
        try:
            self._check_writer(request)
            self._set_pipeline(request)
        except P4RuntimeError as error:
            action = p4r.SetForwardingPipelineConfigRequest.Action.Name(request.action)
            self.counts.refused_pipelines += 1
            _log.warning("pipeline_refused", action=action, code=error.code.name, reason=error.message)
            raise
        return p4r.SetForwardingPipelineConfigResponse()

    def get_pipeline(
        self, request: p4r.GetForwardingPipelineConfigRequest
    ) -> p4r.GetForwardingPipelineConfigResponse:
        """The config last saved or committed; `config` is unset when there has been none."""
        kinds = p4r.GetForwardingPipelineConfigRequest
        self._arbitration.check_device(request.device_id)
        response = p4r.GetForwardingPipelineConfigResponse()
        if self._current is None:
            return response
        config, wanted = self._current.config, request.response_type
        response.config.SetInParent()
        if config.HasField("cookie"):
            response.config.cookie.CopyFrom(config.cookie)
        if wanted in (kinds.ALL, kinds.P4INFO_AND_COOKIE):
            response.config.p4info.CopyFrom(config.p4info)
        if wanted in (kinds.ALL, kinds.DEVICE_CONFIG_AND_COOKIE):
            response.config.p4_device_config = config.p4_device_config
        return response

    def write(self, data: bytes) -> bytes:
        """Applies a batch: each update on its own (CONTINUE_ON_ERROR), or all or none. Where no frame runs meanwhile,
        all or none is the data path's view too (DATAPLANE_ATOMIC).

        Takes the request as it came in: most batches can be applied without being parsed.
        """
        self.counts.writes += 1
        try:
            errors, updates = self._write(data)
        except P4RuntimeError:
            self.counts.refused_writes += 1
            raise
        self.counts.updates += updates
        if errors is not None:
            self.counts.refused_writes += 1
            self.counts.refused_updates += sum(error is not None for error in errors)
            raise _batch_error(errors, "update")
        return b""  # an empty WriteResponse

    def _write(self, data: bytes) -> tuple[Sequence[P4RuntimeError | None] | None, int]:
        """The errors, if there are any, and how many updates there were."""
        batch = split(data)
        request = _parsed(p4r.WriteRequest, data) if batch is None else batch.request
        self._check_writer(request)
        pipeline = self._pipeline()
        if request.atomicity == p4r.WriteRequest.CONTINUE_ON_ERROR:
            errors = apply_each(pipeline, request) if batch is None else _applied(pipeline, batch)
        elif request.atomicity in p4r.WriteRequest.Atomicity.values():
            if request.atomicity == p4r.WriteRequest.DATAPLANE_ATOMIC and not pipeline.engine.atomic_batches:
                raise P4RuntimeError(
                    Code.UNIMPLEMENTED,
                    "DATAPLANE_ATOMIC is not supported by the engine in charge, in which frames run during a batch "
                    "(valid: CONTINUE_ON_ERROR, ROLLBACK_ON_ERROR)",
                )
            errors = apply_all_or_none(pipeline, _parsed(p4r.WriteRequest, data).updates)
        else:
            names = ", ".join(p4r.WriteRequest.Atomicity.keys())
            raise invalid(f"atomicity {request.atomicity} is not valid (valid: {names})")
        pipeline.engine.flush()
        return errors, len(request.updates) if batch is None else sum(run.size for run in batch.runs)

    async def read(self, requests: AsyncIterator[p4r.ReadRequest]) -> AsyncGenerator[p4r.ReadResponse, None]:
        """Everything a batch of queries selects, as it is when the request is handled."""
        async for request in requests:
            self.counts.reads += 1
            self._arbitration.check_device(request.device_id)
            pipeline = self._pipeline()
            errors: list[P4RuntimeError | None] = []
            entities: list[p4r.Entity] = []
            for wanted in request.entities:
                try:
                    entities += read_entities(pipeline, wanted)
                    errors.append(None)
                except P4RuntimeError as error:
                    errors.append(error)
            for start in range(0, len(entities), CHUNK):
                yield p4r.ReadResponse(entities=entities[start : start + CHUNK])
            if any(errors):
                raise _batch_error(errors, "query")

    async def stream_channel(
        self, requests: AsyncIterator[p4r.StreamMessageRequest]
    ) -> AsyncGenerator[p4r.StreamMessageResponse, None]:
        """Arbitration, packet I/O and digests of one client."""
        try:
            # Closed here and now, so that a client that went away is not primary a moment longer.
            async with contextlib.aclosing(self.streams.serve(requests)) as responses:
                async for response in responses:
                    yield response
        except P4RuntimeError as error:
            _log.warning("stream_ended", code=error.code.name, reason=error.message)
            raise

    def _check_writer(self, request: p4r.WriteRequest | p4r.SetForwardingPipelineConfigRequest) -> None:
        self._arbitration.check_device(request.device_id)
        election_id = request.election_id if request.HasField("election_id") else None
        self._arbitration.check_primary(request.role, election_id)

    def _pipeline(self) -> Pipeline:
        if self._current is None:
            raise P4RuntimeError(Code.FAILED_PRECONDITION, _NO_PIPELINE)
        return self._current

    def _set_pipeline(self, request: p4r.SetForwardingPipelineConfigRequest) -> None:
        actions = p4r.SetForwardingPipelineConfigRequest
        has_config = request.HasField("config")
        if request.action == actions.COMMIT:
            if has_config:
                raise invalid("COMMIT takes no config: it commits the one saved before")
            if self._current is None or self._current is self._running:
                raise P4RuntimeError(Code.NOT_FOUND, "no saved config to commit (VERIFY_AND_SAVE one first)")
            self._commit(self._current)
            return
        if request.action == actions.UNSPECIFIED:
            valid = [name for name, number in actions.Action.items() if number != actions.UNSPECIFIED]
            raise invalid(f"the action is unspecified (valid: {', '.join(valid)})")
        if not has_config:
            raise invalid(f"{actions.Action.Name(request.action)} needs a config")
        if request.action == actions.VERIFY:
            verify(request.config, self._translations)
            return
        pipeline = build_pipeline(self._device, request.config, self.streams.send_digests, self._translations)
        if request.action == actions.VERIFY_AND_SAVE:
            self._discard_saved()
            self._current = pipeline
            return
        if request.action == actions.RECONCILE_AND_COMMIT and self._running is not None:
            carry_over(self._running, pipeline)
        self._commit(pipeline)

    def _commit(self, pipeline: Pipeline) -> None:
        if pipeline is not self._current:
            self._discard_saved()
        before = self._running
        pipeline.engine.flush()
        pipeline.commit()
        self.counts.commits += 1
        self._current = self._running = pipeline
        if before is not None and before is not pipeline:
            before.close()
        _log.info(
            "pipeline_committed",
            tables=len(pipeline.program.tables),
            cookie=pipeline.config.cookie.cookie if pipeline.config.HasField("cookie") else None,
        )

    def _discard_saved(self) -> None:
        if self._current is not None and self._current is not self._running:
            self._current.close()

    def _on_digest(self, name: str, values: tuple[int, ...]) -> None:
        self.counts.digests += 1
        if self._running is not None and name in self._running.digests:
            self._running.digests[name].add(values)


def _refusing(handle: UnaryMethod) -> UnaryMethod:
    """With P4Runtime's errors as gRPC's."""

    def method(data: bytes) -> bytes:
        try:
            return handle(data)
        except P4RuntimeError as error:
            raise RpcError(error.code.value, error.message) from error

    return method


def _unary(kind: type[_Request], handle: Callable[[_Request], Message]) -> UnaryMethod:
    return _refusing(lambda data: handle(_parsed(kind, data)).SerializeToString())


def _streaming(
    kind: type[_Request], handle: Callable[[AsyncIterator[_Request]], AsyncGenerator[Message, None]]
) -> StreamingMethod:
    async def method(requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async with contextlib.aclosing(handle(_parsed(kind, data) async for data in requests)) as answers:
                async for answer in answers:
                    yield answer.SerializeToString()
        except P4RuntimeError as error:
            raise RpcError(error.code.value, error.message) from error

    return method


def _parsed(kind: type[_Request], data: bytes) -> _Request:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise invalid(f"the request is no {kind.DESCRIPTOR.name}") from error


def _applied(pipeline: Pipeline, batch: Batch) -> Sequence[P4RuntimeError | None] | None:
    try:
        return apply_batch(pipeline, batch)
    except DecodeError as error:
        raise invalid("the request is no WriteRequest") from error


def _batch_error(errors: Sequence[P4RuntimeError | None], element: str) -> RpcError:
    failed = [error for error in errors if error is not None and error.code is not Code.ABORTED]
    plural = {"update": "updates", "query": "queries"}[element] if len(errors) != 1 else element
    status = batch_status(errors, f"{len(failed)} of {len(errors)} {plural} failed: {failed[0].message}")
    return RpcError(status.code, status.message, status.SerializeToString())
