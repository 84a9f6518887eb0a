package dps

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

// Pattern returns the pattern of the route of a request, "" for none.
func Pattern(method string, u *url.URL) string {
	if r, _, _ := match(method, u); r != nil {
		return r.pattern
	}
	return ""
}
