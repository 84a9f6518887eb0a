package dps_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	head "github.com/causeway-iot/causeway/internal/head/dps"
)

const specFile = "api/openapi/dps.yaml"

var spec = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../../" + specFile)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

func loadSpec(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := spec()
	ok(t, err)
	return doc
}

// TestEveryRouteIsDocumented walks the route table and the OpenAPI document:
// neither may have what the other has not.
func TestEveryRouteIsDocumented(t *testing.T) {
	documented := map[string]string{} // method and path → operationId
	for path, item := range loadSpec(t).Paths.Map() {
		for method, op := range item.Operations() {
			documented[method+" "+path] = op.OperationID
		}
	}
	for _, r := range head.Routes() {
		at := r.Method + " " + r.Pattern
		if id, ok := documented[at]; !ok {
			t.Errorf("%s is served but not in %s", at, specFile)
		} else if id != r.Name {
			t.Errorf("%s has operationId %q in the document, %q in the route table", at, id, r.Name)
		}
		delete(documented, at)
	}
	for at := range documented {
		t.Errorf("%s is in %s but not served", at, specFile)
	}
}

// against holds an answer to the document.
func against(doc *openapi3.T, r *http.Request, a answer) error {
	pattern := head.Pattern(r.Method, r.URL)
	item := doc.Paths.Value(pattern)
	if item == nil || item.GetOperation(r.Method) == nil {
		return nil // no route: TestEveryRouteIsDocumented sees to those that there are
	}
	return openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r,
			Route:   &routers.Route{Spec: doc, Path: pattern, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		},
		Status: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

// TestAgainst shows that answers can fail the document.
func TestAgainst(t *testing.T) {
	doc := loadSpec(t)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "https://h/registrations/r?api-version=2021-10-01", http.NoBody)
	ok(t, err)
	good := answer{200, http.Header{"Content-Type": {"application/json"}, "X-Ms-Request-Id": {"x"}, "ETag": {`"e"`}, "Etag": {`"e"`}}, `{"registrationId":"r","status":"assigned","etag":"\"e\""}`}
	ok(t, against(doc, r, good))
	for name, change := range map[string]func(a *answer){
		"an unknown status":    func(a *answer) { a.status = 201 },
		"a state that is none": func(a *answer) { a.body = strings.Replace(a.body, "assigned", "done", 1) },
		"no registration id":   func(a *answer) { a.body = `{"status":"assigned"}` },
		"no request id":        func(a *answer) { a.header = http.Header{"Content-Type": {"application/json"}} },
	} {
		a := good
		if change(&a); against(doc, r, a) == nil {
			t.Errorf("%s is let through", name)
		}
	}
}
