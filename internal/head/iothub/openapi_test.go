package iothub_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/head/iothub"
)

// TestEveryRouteIsDocumented walks the route table and the OpenAPI document:
// neither may have what the other has not.
func TestEveryRouteIsDocumented(t *testing.T) {
	doc := loadSpec(t)
	documented := map[string]string{} // method and path → operationId
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented[method+" "+path] = op.OperationID
		}
	}
	for _, r := range iothub.Routes() {
		at := r.Method + " " + r.Pattern
		if id, ok := documented[at]; !ok {
			t.Errorf("%s is served but not in api/openapi/iothub.yaml", at)
		} else if id != r.Name {
			t.Errorf("%s has operationId %q in the document, %q in the route table", at, id, r.Name)
		}
		delete(documented, at)
	}
	for at := range documented {
		t.Errorf("%s is in api/openapi/iothub.yaml but not served", at)
	}
}
