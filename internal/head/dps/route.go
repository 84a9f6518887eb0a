package dps

import (
	"net/url"

	"github.com/causeway-iot/causeway/internal/cloud/dps"
	"github.com/causeway-iot/causeway/internal/wire/hubhttp"
)

// route is one operation. Literal segments are matched without case, since clients
// spell enrollmentGroups in two ways; {name} matches any one segment, decoded
// once.
type route struct {
	name    string // in metrics and the log
	method  string
	pattern string
	right   dps.Rights // of a back end; 0 for the API of devices
	group   bool       // about enrollment groups
	handle  func(*handler, *call) (reply, error)
}

const (
	mayReadEnrollments  = dps.EnrollmentRead
	mayWriteEnrollments = dps.EnrollmentWrite
)

var routes = []route{
	{name: "getEnrollment", method: "GET", pattern: "/enrollments/{id}", right: mayReadEnrollments, handle: (*handler).getEnrollment},
	{name: "putEnrollment", method: "PUT", pattern: "/enrollments/{id}", right: mayWriteEnrollments, handle: (*handler).putEnrollment},
	{name: "deleteEnrollment", method: "DELETE", pattern: "/enrollments/{id}", right: mayWriteEnrollments, handle: (*handler).deleteEnrollment},
	{name: "queryEnrollments", method: "POST", pattern: "/enrollments/query", right: mayReadEnrollments, handle: (*handler).queryEnrollments},
	{name: "bulkEnrollments", method: "POST", pattern: "/enrollments", right: mayWriteEnrollments, handle: (*handler).bulk},
	{name: "getEnrollmentAttestation", method: "POST", pattern: "/enrollments/{id}/attestationmechanism", right: mayWriteEnrollments, handle: (*handler).attestation},

	{name: "getGroup", method: "GET", pattern: "/enrollmentGroups/{id}", right: mayReadEnrollments, group: true, handle: (*handler).getEnrollment},
	{name: "putGroup", method: "PUT", pattern: "/enrollmentGroups/{id}", right: mayWriteEnrollments, group: true, handle: (*handler).putEnrollment},
	{name: "deleteGroup", method: "DELETE", pattern: "/enrollmentGroups/{id}", right: mayWriteEnrollments, group: true, handle: (*handler).deleteEnrollment},
	{name: "queryGroups", method: "POST", pattern: "/enrollmentGroups/query", right: mayReadEnrollments, group: true, handle: (*handler).queryEnrollments},
	{name: "bulkGroups", method: "POST", pattern: "/enrollmentGroups", right: mayWriteEnrollments, group: true, handle: (*handler).bulk},
	{name: "getGroupAttestation", method: "POST", pattern: "/enrollmentGroups/{id}/attestationmechanism", right: mayWriteEnrollments, group: true, handle: (*handler).attestation},

	{name: "getRegistration", method: "GET", pattern: "/registrations/{id}", right: dps.RegistrationStatusRead, handle: (*handler).getRegistration},
	{name: "deleteRegistration", method: "DELETE", pattern: "/registrations/{id}", right: dps.RegistrationStatusWrite, handle: (*handler).deleteRegistration},
	{name: "queryRegistrations", method: "POST", pattern: "/registrations/{id}/query", right: dps.RegistrationStatusRead, handle: (*handler).queryRegistrations},

	// After those of back ends: an id scope may be anything.
	{name: "register", method: "PUT", pattern: "/{scope}/registrations/{id}/register", handle: (*handler).register},
	{name: "getOperation", method: "GET", pattern: "/{scope}/registrations/{id}/operations/{operation}", handle: (*handler).lookup},
	{name: "getDeviceRegistration", method: "POST", pattern: "/{scope}/registrations/{id}", handle: (*handler).status},
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
type params struct{ scope, id, operation string }

func (p *params) set(name, value string) {
	switch name {
	case "scope":
		p.scope = value
	case "id":
		p.id = value
	case "operation":
		p.operation = value
	}
}

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

// label names a route in metrics; nil is everything unknown.
func (r *route) label() string {
	if r == nil {
		return "unknown"
	}
	return r.name
}
