"""The shell over a real WebSocket on loopback: order, backpressure, ends, and servers that are no hub."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response

from cloudsync import messages, transport
from cloudsync.errors import ChannelClosed, FrameTooLarge, ProtocolViolation
from cloudsync.messages import FRAME_LIMIT_BYTES, Ack, Bye, Challenge, FromBox, FromHub, OutputChunk, Pulse
from cloudsync.transport import BEHIND_FRAMES, CLOSE_VIOLATION, REASON_LIMIT_BYTES, Channel, open_channel

Hub = Callable[[Channel[FromBox], ServerConnection], Awaitable[None]]


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/relay"


@asynccontextmanager
async def connected(hub: Hub) -> AsyncIterator[Channel[FromHub]]:
    """A box's channel to a hub that does this with each connection; what fails at the hub fails the test."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handle(connection: ServerConnection) -> None:
        channel = Channel(connection, messages.decode_from_box)
        try:
            await hub(channel, connection)
        except Exception as error:  # noqa: BLE001
            ended.set_exception(error)
        else:
            ended.set_result(None)
        finally:
            await channel.finish()

    options = {"max_size": FRAME_LIMIT_BYTES, "compression": None, "close_timeout": 1.0}
    async with serve(handle, "127.0.0.1", 0, subprotocols=[messages.SUBPROTOCOL], **options) as server:  # type: ignore[arg-type, list-item]
        channel = await open_channel(url_of(server))
        try:
            yield channel
            await channel.close()
            await ended
        finally:
            channel.abandon()


async def all_of(channel: Channel[FromBox], into: list[FromBox]) -> None:
    """Read until the connection ends, which raises."""
    while True:
        into.append(await channel.receive())


async def read_to_the_end(channel: Channel[FromBox], _: ServerConnection) -> None:
    with pytest.raises(ChannelClosed):
        await all_of(channel, [])


async def test_frames_arrive_in_the_order_in_which_they_were_sent() -> None:
    got: list[int] = []

    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        channel.send(Challenge(nonce="n", hub="h"))
        channel.send_text(messages.encode_commands(1, ['{"type":"cancel","task_id":"t"}']))
        while len(got) < 1000:
            message = await channel.receive()
            assert isinstance(message, Ack)
            got.append(message.seq)

    async with connected(hub) as box:
        for seq in range(1000):
            box.send(Ack(seq=seq))
        assert await box.receive() == Challenge(nonce="n", hub="h")
        batch = await box.receive()
        assert isinstance(batch, messages.Commands)
    assert got == list(range(1000))


async def test_what_is_queued_goes_out_before_the_close() -> None:
    got: list[FromBox] = []

    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        with pytest.raises(ChannelClosed) as closed:
            await all_of(channel, got)
        assert (closed.value.code, closed.value.reason) == (1001, "update")

    async with connected(hub) as box:
        for seq in range(100):
            box.send(Ack(seq=seq))
        await box.close(1001, "update")
    assert got == [Ack(seq=seq) for seq in range(100)]


async def test_the_first_close_gives_the_code_and_the_reason() -> None:
    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        channel.close_soon(CLOSE_VIOLATION, "first")
        channel.close_soon(1000, "second")
        await channel.close(1000, "third")

    async with connected(hub) as box:
        with pytest.raises(ChannelClosed, match="first") as closed:
            await box.receive()
    assert closed.value.code == CLOSE_VIOLATION


@pytest.mark.parametrize("reason", ["x" * 500, "ä" * 500, "😀" * 500, "\ud800" * 500])
async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(reason: str) -> None:
    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        await channel.close(CLOSE_VIOLATION, reason)

    async with connected(hub) as box:
        with pytest.raises(ChannelClosed) as closed:
            await box.receive()
    assert closed.value.code == CLOSE_VIOLATION
    assert REASON_LIMIT_BYTES - 4 < len(closed.value.reason.encode()) <= REASON_LIMIT_BYTES


async def test_a_connection_that_breaks_off_ends_without_a_code() -> None:
    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        channel.abandon()

    async with connected(hub) as box:
        with pytest.raises(ChannelClosed, match="without a close frame") as closed:
            await box.receive()
        assert closed.value.code is None


async def test_an_abandoned_channel_can_be_closed_and_takes_messages_that_go_nowhere() -> None:
    async with connected(read_to_the_end) as box:
        box.abandon()
        box.send(Ack(seq=1))
        await box.close()
        with pytest.raises(ChannelClosed):
            await box.receive()


async def test_best_effort_is_refused_while_the_socket_is_behind_and_taken_again_after() -> None:
    read, caught_up = asyncio.Event(), asyncio.Event()

    async def hub(channel: Channel[FromBox], connection: ServerConnection) -> None:
        await read.wait()
        while await channel.receive() != Ack(seq=1):
            pass
        caught_up.set()
        await read_to_the_end(channel, connection)

    chunk = OutputChunk(task_id="t", stream="stdout", offset=0, data_b64="A" * 500_000)
    async with connected(hub) as box:
        taken = 0
        async with asyncio.timeout(20):
            while box.offer(chunk):
                taken += 1
                await asyncio.sleep(0)
            assert taken >= BEHIND_FRAMES
            box.send(Ack(seq=1))
            assert not box.offer(Pulse(now_ms=1))
            read.set()
            await caught_up.wait()
            assert box.offer(Pulse(now_ms=1))


async def test_a_peer_that_reads_nothing_does_not_hold_up_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "DRAIN_TIMEOUT_S", 0.2)
    done = asyncio.Event()

    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        await done.wait()

    async with connected(hub) as box:
        frame = "x" * FRAME_LIMIT_BYTES
        for _ in range(64):
            box.send_text(frame)
        async with asyncio.timeout(5):
            await box.close()
        done.set()


async def test_a_binary_frame_is_a_violation() -> None:
    async def hub(_: Channel[FromBox], connection: ServerConnection) -> None:
        await connection.send(b"{}")

    async with connected(hub) as box:
        with pytest.raises(ProtocolViolation, match="a binary frame"):
            await box.receive()


@pytest.mark.parametrize("frame", ["not json", '{"type":"hello"}', '{"type":"challenge"}'])
async def test_a_frame_that_is_no_message_is_a_violation_and_the_next_is_read(frame: str) -> None:
    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        channel.send_text(frame)
        channel.send(Bye())
        await read_to_the_end(channel, _)

    async with connected(hub) as box:
        with pytest.raises(ProtocolViolation):
            await box.receive()
        assert await box.receive() == Bye()


async def test_a_frame_of_the_full_size_passes() -> None:
    message = Bye(reason="ä" * ((FRAME_LIMIT_BYTES - len(messages.encode(Bye()))) // 2))

    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        channel.send(message)
        await read_to_the_end(channel, _)

    async with connected(hub) as box:
        assert await box.receive() == message


@pytest.mark.parametrize("letter", ["x", "ä"])
async def test_a_frame_over_the_limit_ends_the_connection_at_whichever_end_gets_it(letter: str) -> None:
    oversize = letter * (FRAME_LIMIT_BYTES // len(letter.encode()) + 1)

    async def hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        with pytest.raises(FrameTooLarge):
            channel.send(Bye(reason=oversize))
        channel.send_text(oversize)
        with pytest.raises(ChannelClosed) as closed:
            await channel.receive()
        assert closed.value.code == 1009

    async with connected(hub) as box:
        with pytest.raises(ChannelClosed):
            await box.receive()

    async def refusing_hub(channel: Channel[FromBox], _: ServerConnection) -> None:
        with pytest.raises(ChannelClosed):
            await channel.receive()

    async with connected(refusing_hub) as box:
        box.send_text(oversize)
        with pytest.raises(ChannelClosed) as closed:
            await box.receive()
        assert closed.value.code == 1009


async def test_a_web_server_that_is_no_hub_is_no_handshake() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidHandshake, match="HTTP 200"):
            await open_channel(f"ws://127.0.0.1:{port}/relay")


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"\0\xff", b""])
async def test_what_is_no_web_server_is_no_handshake(answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidHandshake):
            await open_channel(f"ws://127.0.0.1:{port}/relay")


async def test_a_hub_that_refuses_says_so_by_its_status() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return Response(HTTPStatus.UNAUTHORIZED, "Unauthorized", Headers(), b"")

    async def never(connection: ServerConnection) -> None:
        raise AssertionError("it was let in")

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
        with pytest.raises(InvalidHandshake, match="HTTP 401"):
            await open_channel(url_of(server))


async def test_a_websocket_server_without_our_subprotocol_is_no_hub() -> None:
    closed: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def echo(connection: ServerConnection) -> None:
        await connection.wait_closed()
        closed.set_result((connection.close_code, connection.close_reason))

    async with serve(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ProtocolViolation, match="it is no Operis hub"):
            await open_channel(url_of(server))
        assert await closed == (CLOSE_VIOLATION, "no cloudsync.v1")


async def test_a_port_where_nobody_listens_is_an_error_of_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=str(port)):
        await open_channel(f"ws://127.0.0.1:{port}/relay")
