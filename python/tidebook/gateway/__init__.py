"""Orders of people and programs, on their way to a venue and back: names, order entry, and what became of each order.

    request ──► OrderDesk ──► Destination (the node's own venue) ──► orders.in ──► engine ──► orders
                    ▲                                                                          │
                    └──────────────── OrdersFollower: replica, order book of lives ◄───────────┘

The gateway has no truth of its own: what it knows of orders, positions and balances is what a replica of the venue makes of channel
`orders`. Names of instruments, assets and accounts are the one thing it keeps for good, because commands carry numbers; the lives of
orders it keeps so that a start goes on from them.
"""
