package blob

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	port "github.com/causeway-iot/causeway/internal/core/blob"
)

// code is an error of the Blob service.
type code struct {
	name   string
	status int
}

// The codes, as the service names them.
var (
	authenticationFailed = code{"AuthenticationFailed", 403}
	noAuthentication     = code{"NoAuthenticationInformation", 401}
	permissionMismatch   = code{"AuthorizationPermissionMismatch", 403}
	sourceIPMismatch     = code{"AuthorizationSourceIPMismatch", 403}
	serviceMismatch      = code{"AuthorizationServiceMismatch", 403}
	resourceTypeMismatch = code{"AuthorizationResourceTypeMismatch", 403}

	blobNotFound        = code{"BlobNotFound", 404}
	containerNotFound   = code{"ContainerNotFound", 404}
	resourceNotFound    = code{"ResourceNotFound", 404}
	blobExists          = code{"BlobAlreadyExists", 409}
	containerExists     = code{"ContainerAlreadyExists", 409}
	invalidBlobType     = code{"InvalidBlobType", 409}
	blockCount          = code{"BlockCountExceedsLimit", 409}
	conditionNotMet     = code{"ConditionNotMet", 412}
	appendPosition      = code{"AppendPositionConditionNotMet", 412}
	maxBlobSize         = code{"MaxBlobSizeConditionNotMet", 412}
	leaseNotPresent     = code{"LeaseNotPresentWithBlobOperation", 412}
	invalidRange        = code{"InvalidRange", 416}
	bodyTooLarge        = code{"RequestBodyTooLarge", 413}
	noContentLength     = code{"MissingContentLengthHeader", 411}
	unsupportedVerb     = code{"UnsupportedHttpVerb", 405}
	insufficientRoom    = code{"InsufficientStorage", 507}
	serverBusy          = code{"ServerBusy", 503}
	internalError       = code{"InternalError", 500}
	timedOut            = code{"OperationTimedOut", 500}
	invalidResourceName = code{"InvalidResourceName", 400}
	invalidURI          = code{"InvalidUri", 400}
	invalidBlockID      = code{"InvalidBlockId", 400}
	invalidBlockList    = code{"InvalidBlockList", 400}
	blockListTooLong    = code{"BlockListTooLong", 400}
	invalidXML          = code{"InvalidXmlDocument", 400}
	invalidHeader       = code{"InvalidHeaderValue", 400}
	invalidQuery        = code{"InvalidQueryParameterValue", 400}
	outOfRangeQuery     = code{"OutOfRangeQueryParameterValue", 400}
	missingHeader       = code{"MissingRequiredHeader", 400}
	missingQuery        = code{"MissingRequiredQueryParameter", 400}
	unsupportedHeader   = code{"UnsupportedHeader", 400}
	unsupportedQuery    = code{"UnsupportedQueryParameter", 400}
	invalidMD5          = code{"InvalidMd5", 400}
	md5Mismatch         = code{"Md5Mismatch", 400}
	crc64Mismatch       = code{"Crc64Mismatch", 400}
	metadataTooLarge    = code{"MetadataTooLarge", 400}
	emptyMetadataKey    = code{"EmptyMetadataKey", 400}
	invalidMetadata     = code{"InvalidMetadata", 400}
	badRequest          = code{"InvalidInput", 400}
)

// failure is an error with what the client is told.
type failure struct {
	code
	msg string
	err error // cause, for the log
}

func (f *failure) Error() string {
	s := f.name + ": " + f.msg
	if f.err != nil {
		s += ": " + f.err.Error()
	}
	return s
}

func (f *failure) Unwrap() error { return f.err }

func fail(c code, format string, args ...any) error {
	return &failure{code: c, msg: fmt.Sprintf(format, args...)}
}

// of maps the errors of the port. What is not among them is a fault of ours.
var of = []struct {
	err  error
	code code
}{
	{port.ErrNoContainer, containerNotFound},
	{port.ErrNotFound, blobNotFound},
	{port.ErrExists, blobExists},
	{port.ErrName, invalidResourceName},
	{port.ErrCondition, conditionNotMet},
	{port.ErrKind, invalidBlobType},
	{port.ErrRange, invalidRange},
	{port.ErrPosition, appendPosition},
	{port.ErrBlock, invalidBlockList},
	{port.ErrSum, md5Mismatch},
	{port.ErrTooLarge, bodyTooLarge},
	{port.ErrTooMany, blockCount},
	{port.ErrProperties, metadataTooLarge},
	{port.ErrFull, insufficientRoom},
	{io.ErrUnexpectedEOF, badRequest},
	{os.ErrDeadlineExceeded, timedOut},
	{context.Canceled, serverBusy},
	{context.DeadlineExceeded, timedOut},
}

// failureOf returns what to tell of an error.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	for _, m := range of {
		if errors.Is(err, m.err) {
			return &failure{code: m.code, msg: m.err.Error(), err: err}
		}
	}
	return &failure{code: internalError, msg: "the storage failed; repeat the request", err: err}
}

// errorBody is the body of an error.
type errorBody struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

// fail answers with an error.
func (h *handler) fail(c *call, err error) {
	f := failureOf(err)
	h.metrics.Refused.WithLabelValues(f.name).Inc()
	if c.status != 0 {
		// The answer has begun: only cutting it short can say that it is wrong.
		panic(http.ErrAbortHandler)
	}
	c.status = f.status
	head := c.w.Header()
	for _, name := range []string{"ETag", "Last-Modified", "Content-Range", "Content-Encoding", "Content-Language", "Content-Disposition", "Content-MD5"} {
		head.Del(name)
	}
	head["x-ms-error-code"] = []string{f.name}
	if f.status == http.StatusNotModified {
		c.w.WriteHeader(f.status)
		return
	}
	// What is left of the body of a refused request is not worth reading.
	if c.r.ContentLength > 256<<10 || c.r.ContentLength < 0 {
		head.Set("Connection", "close")
	}
	body, merr := xml.Marshal(errorBody{
		Code:    f.name,
		Message: f.msg + "\nRequestId:" + c.request + "\nTime:" + time.Now().UTC().Format("2006-01-02T15:04:05.0000000Z"),
	})
	if merr != nil {
		body = nil // text always marshals
	}
	body = append([]byte(xml.Header), body...)
	head.Set("Content-Type", "application/xml")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(idle))
	c.w.WriteHeader(f.status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body)
	}
}
