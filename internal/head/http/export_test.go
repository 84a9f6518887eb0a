package http

import "net/url"

// RouteInfo is a route as the tests see it.
type RouteInfo struct{ Name, Method, Pattern string }

// Routes returns the whole route table.
func Routes() []RouteInfo {
	out := make([]RouteInfo, len(routes))
	for i, r := range routes {
		out[i] = RouteInfo{r.name, r.method, r.pattern}
	}
	return out
}

// Match returns the route of a request.
func Match(method string, u *url.URL) (RouteInfo, bool) {
	r, _, _ := match(method, u)
	if r == nil {
		return RouteInfo{}, false
	}
	return RouteInfo{r.name, r.method, r.pattern}, true
}
