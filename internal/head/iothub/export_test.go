package iothub

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

// Match returns the name and pattern of the route of a request, and the ids in
// its path.
func Match(method string, u *url.URL) (name, pattern, device, module, lock string, allow []string) {
	r, p, allow := match(method, u)
	if r == nil {
		return "", "", "", "", "", allow
	}
	return r.name, r.pattern, p.device, p.module, p.lock, nil
}

// IfMatch reads what clients send.
var IfMatch = ifMatch
