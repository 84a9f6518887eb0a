package http

import (
	"net/url"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// route is one operation of the API.
type route struct {
	name    string // operationId in api/openapi/device.yaml
	method  string
	pattern string
	handle  func(*handler, *call) (reply, error)
}

// routes is the whole API.
var routes = []route{
	{"sendEvent", "POST", "/devices/{deviceId}/messages/events", (*handler).sendEvent},
	{"sendModuleEvent", "POST", "/devices/{deviceId}/modules/{moduleId}/messages/events", (*handler).sendEvent},

	{"receiveCommand", "GET", "/devices/{deviceId}/messages/deviceBound", (*handler).receive},
	{"completeCommand", "DELETE", "/devices/{deviceId}/messages/deviceBound/{lockToken}", (*handler).complete},
	{"abandonCommand", "POST", "/devices/{deviceId}/messages/deviceBound/{lockToken}/abandon", (*handler).abandon},
	{"receiveModuleCommand", "GET", "/devices/{deviceId}/modules/{moduleId}/messages/deviceBound", (*handler).receive},
	{"completeModuleCommand", "DELETE", "/devices/{deviceId}/modules/{moduleId}/messages/deviceBound/{lockToken}", (*handler).complete},
	{"abandonModuleCommand", "POST", "/devices/{deviceId}/modules/{moduleId}/messages/deviceBound/{lockToken}/abandon", (*handler).abandon},

	{"createUpload", "POST", "/devices/{deviceId}/files", (*handler).createUpload},
	{"getUpload", "GET", "/devices/{deviceId}/files/{fileName}", (*handler).getUpload},
	{"completeUpload", "POST", "/devices/{deviceId}/files/notifications", (*handler).completeUpload},
	{"completeUploadById", "POST", "/devices/{deviceId}/files/notifications/{correlationId}", (*handler).completeUpload},
}

// patterns holds the parsed pattern of every route.
var patterns = func() []hubhttp.Pattern {
	p := make([]hubhttp.Pattern, len(routes))
	for i := range routes {
		p[i] = hubhttp.ParsePattern(routes[i].pattern)
	}
	return p
}()

// params are the decoded variable segments of a path.
type params struct{ device, module, lock, file, correlation string }

// match finds the route of a request. When a path is known but not with this
// method, r is nil and allow lists the methods it has.
func match(method string, u *url.URL) (r *route, p params, allow []string) {
	segments, ok := hubhttp.Split(u)
	if !ok {
		return nil, p, nil
	}
	for i := range routes {
		p = params{}
		if !patterns[i].Match(segments, p.set) {
			continue
		}
		if routes[i].method == method {
			return &routes[i], p, nil
		}
		allow = append(allow, routes[i].method)
	}
	return nil, params{}, allow
}

func (p *params) set(name, value string) {
	switch name {
	case "deviceId":
		p.device = value
	case "moduleId":
		p.module = value
	case "lockToken":
		p.lock = value
	case "fileName":
		p.file = value
	case "correlationId":
		p.correlation = value
	}
}

func (p *params) identity() causeway.Identity {
	return causeway.Identity{Device: p.device, Module: p.module}
}

// label names a route in metrics; nil is everything unknown.
func (r *route) label() string {
	if r == nil {
		return "unknown"
	}
	return r.name
}
