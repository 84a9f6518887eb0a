package blob

import (
	"context"
	"errors"

	"github.com/causeway-iot/causeway"
)

// The errors of a store. Drivers wrap them; whatever else they return is a
// failure of the storage.
var (
	ErrNoContainer = errors.New("the container does not exist")
	ErrNotFound    = errors.New("the blob does not exist")
	ErrExists      = errors.New("there is one of that name")
	ErrName        = errors.New("the name is not allowed")
	ErrCondition   = errors.New("the blob is not as the condition says")
	ErrKind        = errors.New("the blob is of another kind")
	ErrRange       = errors.New("the range begins behind the end of the blob")
	ErrPosition    = errors.New("the blob does not end at that position")
	ErrBlock       = errors.New("the list names a block that is not there")
	ErrSum         = errors.New("the content does not have the MD5 that was given")
	ErrTooLarge    = errors.New("the content is larger than allowed")
	ErrTooMany     = errors.New("the blob has as many blocks as it may have")
	ErrProperties  = errors.New("the properties are larger than allowed")
	ErrFull        = errors.New("the storage has no room")
)

// codes gives the errors their places in the catalogue.
var codes = []struct {
	err  error
	code causeway.Code
	msg  string
}{
	{ErrNoContainer, causeway.BlobContainerValidationError, "the blob container does not exist"},
	{ErrNotFound, causeway.InvalidStorageEndpointOrBlob, "the blob does not exist"},
	{ErrExists, causeway.GenericConflict, "a blob or container of that name exists already"},
	{ErrName, causeway.ArgumentInvalid, "the name of the blob or container is not allowed"},
	{ErrCondition, causeway.PreconditionFailed, "the blob has changed"},
	{ErrFull, causeway.ServiceUnavailable, "the blob storage has no room left: nothing was changed; free space and repeat the request"},
	{ErrTooLarge, causeway.GenericRequestEntityTooLarge, "the content is larger than the blob storage takes"},
}

// Fault turns an error of a store into one of the catalogue, for who has to
// answer in its terms. Errors of contexts, those that are of the catalogue
// already, and nil stay as they are.
func Fault(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*causeway.Error](err); ok {
		return err
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &causeway.Error{Code: c.code, Op: op, Msg: c.msg, Err: err}
		}
	}
	return &causeway.Error{Code: causeway.ServiceUnavailable, Op: op, Msg: "the blob storage failed: nothing was changed; repeat the request", Err: err}
}
