"""Clients from PyPI, run by e2e_ingress.py as a program of their own: `clients.py grpc|websocket HOST:PORT AUTHORITY`.

Prints one line of JSON with what came of each kind of call.
"""

import asyncio
import json
import sys


def grpc_calls(address, authority):
    import grpc

    def bidi(stream):
        """Each answer is waited for before the next message is sent, so both directions are open at the same time."""
        import queue

        outbox, got = queue.Queue(), []
        answers = stream(iter(outbox.get, None), timeout=20)
        for message in (b"one", b"two" * 50_000, b"three"):
            outbox.put(message)
            got.append(next(answers) == message)
        outbox.put(None)
        return got, list(answers), dict(answers.trailing_metadata())

    with grpc.insecure_channel(address, options=[("grpc.default_authority", authority)]) as channel:
        raw = {"request_serializer": None, "response_deserializer": None}
        answer, call = channel.unary_unary("/echo.Echo/Unary", **raw).with_call(b"hello", timeout=20)
        out = {"unary": [answer.decode(), dict(call.trailing_metadata())]}
        answers = channel.unary_stream("/echo.Echo/ServerStream", **raw)(b"500", timeout=20)
        out["server stream"] = [len(list(answers)), dict(answers.trailing_metadata())]
        answer, call = channel.stream_unary("/echo.Echo/ClientStream", **raw).with_call(
            (b"x" * 1000 for _ in range(300)), timeout=20
        )
        out["client stream"] = [answer.decode(), dict(call.trailing_metadata())]
        out["bidi"] = bidi(channel.stream_stream("/echo.Echo/Bidi", **raw))
        try:
            channel.unary_unary("/echo.Echo/Fail", **raw)(b"", timeout=20)
        except grpc.RpcError as error:
            out["fail"] = [error.code().name, error.details()]
        try:
            channel.unary_unary("/echo.Echo/Wait", **raw)(b"", timeout=0.5)
        except grpc.RpcError as error:
            out["deadline"] = [error.code().name]
    return out


async def websocket(address, authority):
    import websockets

    host, port = address.rsplit(":", 1)
    async with websockets.connect(f"ws://{authority}/chat", host=host, port=int(port), max_size=None) as socket:
        got = []
        for message in ("text", b"bytes", b"x" * 70_000, "y" * 300):
            await socket.send(message)
            got.append(await socket.recv() == message)
        await (await socket.ping())
    return {"echoed": got, "closed": socket.close_code}


if __name__ == "__main__":
    kind, address, authority = sys.argv[1:]
    result = grpc_calls(address, authority) if kind == "grpc" else asyncio.run(websocket(address, authority))
    print(json.dumps(result))
