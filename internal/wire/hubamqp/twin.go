package hubamqp

import (
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// TwinOp is what a device asks of its twin.
type TwinOp uint8

// The operations.
const (
	_               TwinOp = iota
	TwinGet                // GET
	TwinPatch              // PATCH /properties/reported
	TwinSubscribe          // PUT /notifications/twin/properties/desired
	TwinUnsubscribe        // DELETE /notifications/twin/properties/desired
)

// Annotations of twin messages, and their values.
const (
	annOperation = "operation"
	annResource  = "resource"
	annVersion   = "version"
	annStatus    = "status"

	resourceReported     = "/properties/reported"
	resourceDesired      = "/properties/desired"
	resourceNotification = "/notifications/twin/properties/desired"
)

// TwinRequest is what a device sends on its twin link.
type TwinRequest struct {
	Op TwinOp
	// Correlation is echoed with the type it has. It is never null after
	// DecodeTwinRequest returned no error.
	Correlation codec.Value
	Version     int64 // TwinPatch: the version it expects to change, 0 for any
	Body        []byte
}

// DecodeTwinRequest reads a request. When the message is understood but the
// request is not, Correlation is set all the same, so that it can be answered.
// Errors: IotHubFormatError, ArgumentInvalid.
func DecodeTwinRequest(s *Scratch, payload []byte) (TwinRequest, error) {
	const op = "amqp.twin"
	var x codec.Message
	var r TwinRequest
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	var err error
	if r.Correlation, err = echoed(op, "correlation-id", x.Properties.CorrelationID); err != nil {
		return r, err
	}
	if r.Correlation.IsNull() {
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "a twin request without a correlation-id cannot be answered")
	}
	word, resource := annotated(x.MessageAnnotations, annOperation), annotated(x.MessageAnnotations, annResource)
	resource = strings.TrimSuffix(resource, "/")
	switch {
	case strings.EqualFold(word, "GET") && resource == "":
		r.Op = TwinGet
	case strings.EqualFold(word, "PATCH") && strings.EqualFold(resource, resourceReported):
		r.Op = TwinPatch
	case strings.EqualFold(word, "PUT") && strings.EqualFold(resource, resourceNotification):
		r.Op = TwinSubscribe
	case strings.EqualFold(word, "DELETE") && strings.EqualFold(resource, resourceNotification):
		r.Op = TwinUnsubscribe
	default:
		return r, causeway.Errorf(causeway.ArgumentInvalid, op,
			"twin operation %q on resource %q is not known; the operations are GET, PATCH %s, and PUT and DELETE %s",
			cut(word), cut(resource), resourceReported, resourceNotification)
	}
	if v, _ := x.MessageAnnotations.Lookup(annVersion); r.Op == TwinPatch && !v.IsNull() {
		n, ok := v.Int64()
		if !ok || n < 0 {
			return r, causeway.Errorf(causeway.ArgumentInvalid, op, "annotation %s is not a version", annVersion)
		}
		r.Version = n
	}
	r.Body, err = s.body(op, x.Body)
	return r, err
}

// annotated returns an annotation that is text, "" when it is not there.
func annotated(m codec.Map, name string) string {
	v, _ := m.Lookup(name)
	text, _ := v.Text()
	return text
}

// AppendTwinRequest appends a request.
func AppendTwinRequest(dst []byte, r TwinRequest) []byte {
	operation, resource := "GET", ""
	switch r.Op {
	case TwinPatch:
		operation, resource = "PATCH", resourceReported
	case TwinSubscribe:
		operation, resource = "PUT", resourceNotification
	case TwinUnsubscribe:
		operation, resource = "DELETE", resourceNotification
	}
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	text(&w, annOperation, operation)
	text(&w, annResource, resource)
	if r.Op == TwinPatch && r.Version > 0 {
		w.Symbol(annVersion)
		w.Long(r.Version)
	}
	w.End()
	writeCorrelation(&w, r.Correlation)
	w.Data(r.Body)
	return w.Bytes()
}

// TwinResponse is what a hub sends on the twin link of a device.
type TwinResponse struct {
	// Correlation is that of the request; null in a change of desired
	// properties.
	Correlation codec.Value
	Status      int   // 0 in a change of desired properties
	Version     int64 // 0 when there is none
	Body        []byte
}

// Desired reports whether r is a change of desired properties.
func (r *TwinResponse) Desired() bool { return r.Correlation.IsNull() }

// AppendTwinResponse appends the answer to a request.
func AppendTwinResponse(dst []byte, r TwinResponse) []byte {
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	w.Symbol(annStatus)
	w.Int(int32(r.Status))
	if r.Version > 0 {
		w.Symbol(annVersion)
		w.Long(r.Version)
	}
	w.End()
	writeCorrelation(&w, r.Correlation)
	w.Data(r.Body)
	return w.Bytes()
}

// AppendDesired appends a change of desired properties to the given version.
func AppendDesired(dst []byte, version int64, patch []byte) []byte {
	w := codec.NewWriter(dst)
	w.Map(codec.CodeMessageAnnotations)
	text(&w, annResource, resourceDesired)
	w.Symbol(annVersion)
	w.Long(version)
	w.End()
	w.Data(patch)
	return w.Bytes()
}

// DecodeTwinResponse reads what a hub sends. Errors: IotHubFormatError,
// ArgumentInvalid.
func DecodeTwinResponse(s *Scratch, payload []byte) (TwinResponse, error) {
	const op = "amqp.twin"
	var x codec.Message
	var r TwinResponse
	if err := x.Decode(payload); err != nil {
		return r, malformed(op, err)
	}
	r.Correlation = x.Properties.CorrelationID
	if v, ok := x.MessageAnnotations.Lookup(annVersion); ok {
		r.Version, _ = v.Int64()
	}
	v, _ := x.MessageAnnotations.Lookup(annStatus)
	n, ok := status(v)
	switch {
	case ok:
		r.Status = n
	case !r.Desired():
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the answer has no annotation %s that is an int", annStatus)
	case !strings.EqualFold(annotated(x.MessageAnnotations, annResource), resourceDesired):
		return r, causeway.Errorf(causeway.ArgumentInvalid, op, "the message is neither an answer nor a change of desired properties")
	}
	var err error
	r.Body, err = s.body(op, x.Body)
	return r, err
}
