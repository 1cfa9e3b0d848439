# SPDX-License-Identifier: Apache-2.0
"""The order in which the nodes of a graph can be laid out so that control mostly falls downwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def order_of(first: str | None, successors: Callable[[str], Iterable[str]]) -> tuple[tuple[str, ...], bool]:
    """The nodes reachable from `first`, each before its successors wherever there is no loop (reverse
    postorder), and whether there is a loop."""
    if first is None:
        return (), False
    postorder: list[str] = []
    done: set[str] = set()
    open_nodes: set[str] = {first}
    loops = False
    stack = [(first, iter(tuple(successors(first))))]
    while stack:
        node, pending = stack[-1]
        for following in pending:
            if following in open_nodes:
                loops = True
            elif following not in done:
                open_nodes.add(following)
                stack.append((following, iter(tuple(successors(following)))))
                break
        else:
            stack.pop()
            open_nodes.discard(node)
            done.add(node)
            postorder.append(node)
    return tuple(reversed(postorder)), loops
