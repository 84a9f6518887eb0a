package iothub

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// route is one operation of the API. Patterns are matched segment by segment:
// literal segments without case (clients spell deviceBound in two ways), and
// {name} against any one segment, decoded exactly once. ServeMux does neither.
type route struct {
	name    string // operationId in api/openapi/iothub.yaml
	method  string
	pattern string
	form    errorForm

	// rights is what a policy needs. Holding any one of them is enough: to
	// write identities includes to read them.
	rights auth.Rights
	// self says that a device may also call with its own key or certificate.
	self bool

	handle func(*handler, *call) (reply, error)
}

const (
	mayRead  = auth.RegistryRead | auth.RegistryWrite
	mayWrite = auth.RegistryWrite
	service  = auth.ServiceConnect
	mayQuery = auth.ServiceConnect | auth.RegistryRead
)

// routes is the whole API.
var routes = []route{
	{name: "listDevices", method: "GET", pattern: "/devices", rights: mayRead, handle: (*handler).listDevices},
	{name: "bulkChange", method: "POST", pattern: "/devices", rights: mayWrite, handle: (*handler).bulkChange},
	{name: "rotateKeys", method: "POST", pattern: "/devices/keys/regenerate", rights: mayWrite, handle: (*handler).rotateKeys},
	{name: "queryTwins", method: "POST", pattern: "/devices/query", rights: mayQuery, handle: (*handler).query},
	{name: "getDevice", method: "GET", pattern: "/devices/{deviceId}", rights: mayRead, handle: (*handler).getIdentity},
	{name: "putDevice", method: "PUT", pattern: "/devices/{deviceId}", rights: mayWrite, handle: (*handler).putIdentity},
	{name: "deleteDevice", method: "DELETE", pattern: "/devices/{deviceId}", rights: mayWrite, handle: (*handler).deleteIdentity},

	{name: "listModules", method: "GET", pattern: "/devices/{deviceId}/modules", rights: mayRead, self: true, handle: (*handler).listModules},
	{name: "getModule", method: "GET", pattern: "/devices/{deviceId}/modules/{moduleId}", rights: mayRead, self: true, handle: (*handler).getIdentity},
	{name: "putModule", method: "PUT", pattern: "/devices/{deviceId}/modules/{moduleId}", rights: mayWrite, self: true, handle: (*handler).putIdentity},
	{name: "deleteModule", method: "DELETE", pattern: "/devices/{deviceId}/modules/{moduleId}", rights: mayWrite, self: true, handle: (*handler).deleteIdentity},

	{name: "deviceStatistics", method: "GET", pattern: "/statistics/devices", rights: mayRead, handle: (*handler).deviceStatistics},
	{name: "serviceStatistics", method: "GET", pattern: "/statistics/service", rights: mayRead, handle: (*handler).serviceStatistics},

	{name: "getTwin", method: "GET", pattern: "/twins/{deviceId}", form: formB, rights: service, handle: (*handler).getTwin},
	{name: "patchTwin", method: "PATCH", pattern: "/twins/{deviceId}", form: formB, rights: service, handle: (*handler).patchTwin},
	{name: "replaceTwin", method: "PUT", pattern: "/twins/{deviceId}", form: formB, rights: service, handle: (*handler).replaceTwin},
	{name: "getModuleTwin", method: "GET", pattern: "/twins/{deviceId}/modules/{moduleId}", form: formB, rights: service, handle: (*handler).getTwin},
	{name: "patchModuleTwin", method: "PATCH", pattern: "/twins/{deviceId}/modules/{moduleId}", form: formB, rights: service, handle: (*handler).patchTwin},
	{name: "replaceModuleTwin", method: "PUT", pattern: "/twins/{deviceId}/modules/{moduleId}", form: formB, rights: service, handle: (*handler).replaceTwin},

	{name: "invokeMethod", method: "POST", pattern: "/twins/{deviceId}/methods", form: formB, rights: service, handle: (*handler).invoke},
	{name: "invokeModuleMethod", method: "POST", pattern: "/twins/{deviceId}/modules/{moduleId}/methods", form: formB, rights: service, handle: (*handler).invoke},

	{name: "createTransfer", method: "POST", pattern: "/jobs/create", rights: mayWrite, handle: (*handler).createTransfer},
	{name: "listTransfers", method: "GET", pattern: "/jobs", rights: mayRead, handle: (*handler).listTransfers},
	{name: "getTransfer", method: "GET", pattern: "/jobs/{jobId}", rights: mayRead, handle: (*handler).getTransfer},
	{name: "cancelTransfer", method: "DELETE", pattern: "/jobs/{jobId}", rights: mayWrite, handle: (*handler).cancelTransfer},
	{name: "exportRegistry", method: "POST", pattern: "/$admin/exportRegistry", rights: mayWrite, handle: (*handler).exportRegistry},
	{name: "importRegistry", method: "POST", pattern: "/$admin/importRegistry", rights: mayWrite, handle: (*handler).importRegistry},

	{name: "listJobs", method: "GET", pattern: "/jobs/v2/query", form: formB, rights: service, handle: (*handler).listJobs},
	{name: "createJob", method: "PUT", pattern: "/jobs/v2/{jobId}", form: formB, rights: service, handle: (*handler).createJob},
	{name: "getJob", method: "GET", pattern: "/jobs/v2/{jobId}", form: formB, rights: service, handle: (*handler).getJob},
	{name: "cancelJob", method: "POST", pattern: "/jobs/v2/{jobId}/cancel", form: formB, rights: service, handle: (*handler).cancelJob},

	{name: "sendCommand", method: "POST", pattern: "/devices/{deviceId}/messages/deviceBound", rights: service, handle: (*handler).sendCommand},
	{name: "sendModuleCommand", method: "POST", pattern: "/devices/{deviceId}/modules/{moduleId}/messages/deviceBound", rights: service, handle: (*handler).sendCommand},
	{name: "purgeCommands", method: "DELETE", pattern: "/devices/{deviceId}/commands", rights: service, handle: (*handler).purgeCommands},

	{name: "getDigitalTwin", method: "GET", pattern: "/digitaltwins/{deviceId}", form: formB, rights: service, handle: (*handler).getDigitalTwin},
	{name: "patchDigitalTwin", method: "PATCH", pattern: "/digitaltwins/{deviceId}", form: formB, rights: service, handle: (*handler).patchDigitalTwin},
	{name: "invokeCommand", method: "POST", pattern: "/digitaltwins/{deviceId}/commands/{commandName}", form: formB, rights: service, handle: (*handler).invokeCommand},
	{name: "invokeComponentCommand", method: "POST", pattern: "/digitaltwins/{deviceId}/components/{componentPath}/commands/{commandName}", form: formB, rights: service, handle: (*handler).invokeCommand},

	{name: "listConfigurations", method: "GET", pattern: "/configurations", rights: service, handle: (*handler).listConfigurations},
	{name: "testConfiguration", method: "POST", pattern: "/configurations/testQueries", rights: service, handle: (*handler).testConfiguration},
	{name: "getConfiguration", method: "GET", pattern: "/configurations/{configurationId}", rights: service, handle: (*handler).getConfiguration},
	{name: "putConfiguration", method: "PUT", pattern: "/configurations/{configurationId}", rights: service, handle: (*handler).putConfiguration},
	{name: "deleteConfiguration", method: "DELETE", pattern: "/configurations/{configurationId}", rights: service, handle: (*handler).deleteConfiguration},
	{name: "applyConfigurationContent", method: "POST", pattern: "/devices/{deviceId}/applyConfigurationContent", rights: service, handle: (*handler).applyContent},

	{name: "receiveFeedback", method: "GET", pattern: "/messages/serviceBound/feedback", rights: service, handle: (*handler).receiveFeedback},
	{name: "completeFeedback", method: "DELETE", pattern: "/messages/serviceBound/feedback/{lockToken}", rights: service, handle: (*handler).completeFeedback},
	{name: "abandonFeedback", method: "POST", pattern: "/messages/serviceBound/feedback/{lockToken}/abandon", rights: service, handle: (*handler).abandonFeedback},
}

// patterns are the paths of the routes.
var patterns = func() []hubhttp.Pattern {
	p := make([]hubhttp.Pattern, len(routes))
	for i := range routes {
		p[i] = hubhttp.ParsePattern(routes[i].pattern)
	}
	return p
}()

// params are the decoded variable segments of a path.
type params struct{ device, module, lock, component, command, configuration, job string }

// match finds the route of a request. When a path is known but not with this
// method, r is nil and allow lists the methods it has. A path with an escape
// that cannot be decoded matches nothing.
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
	case "configurationId":
		p.configuration = value
	case "lockToken":
		p.lock = value
	case "componentPath":
		p.component = value
	case "commandName":
		p.command = value
	case "jobId":
		p.job = value
	}
}

func (p params) identity(hub string) causeway.Identity {
	return causeway.Identity{Hub: hub, Device: p.device, Module: p.module}
}

// label names a route in metrics; nil is everything unknown.
func (r *route) label() string {
	if r == nil {
		return "unknown"
	}
	return r.name
}

// ifMatch returns the condition of a request as the registry wants it: "" for
// none, "*", or the bare text of an etag. Clients send an etag bare, quoted or
// weak, and the star bare or quoted.
func ifMatch(h http.Header) string {
	v := strings.TrimSpace(h.Get("If-Match"))
	v = strings.TrimPrefix(v, "W/")
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return v
}
