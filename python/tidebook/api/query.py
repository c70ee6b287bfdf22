"""What an address may ask for: a query parameter that a route does not have is an error, on every route under `/api/v1`.

Frameworks leave out what they do not know. A misspelt filter is none then: a mass cancel without one takes everything, and a list
without one is another list.
"""

from fastapi import Request

from tidebook.api.problems import ApiError


async def require_known_query(request: Request) -> None:
    """Raises: ApiError for a parameter that the route does not take, and for one that is given twice."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ApiError(422, "invalid_request", f"{name} is no query parameter of this request: {takes}")
        if name in seen:
            raise ApiError(422, "invalid_request", f"query/{name}: it is given twice, and one of them would count")
        seen.add(name)
