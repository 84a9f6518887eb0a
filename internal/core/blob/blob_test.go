package blob_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/blob"
)

func TestFault(t *testing.T) {
	for _, c := range []struct {
		err  error
		want causeway.Code
	}{
		{nil, 0},
		{fmt.Errorf("x: %w", blob.ErrNoContainer), causeway.BlobContainerValidationError},
		{fmt.Errorf("x: %w", blob.ErrNotFound), causeway.InvalidStorageEndpointOrBlob},
		{blob.ErrFull, causeway.ServiceUnavailable},
		{errors.New("disk on fire"), causeway.ServiceUnavailable},
		{causeway.Errorf(causeway.DeviceNotFound, "x", "y"), causeway.DeviceNotFound},
	} {
		err := blob.Fault("op", c.err)
		if causeway.CodeOf(err) != c.want || !errors.Is(err, c.err) {
			t.Errorf("Fault(%v) = %v", c.err, err)
		}
	}
	if err := blob.Fault("op", context.Canceled); !errors.Is(err, context.Canceled) || causeway.CodeOf(err) != causeway.ServerError {
		t.Errorf("Fault of an ended context = %v", err)
	}
}

func TestCheckProperties(t *testing.T) {
	p := blob.Properties{ContentType: "a/b", Metadata: map[string]string{"k": strings.Repeat("v", blob.MaxProperties-4)}}
	if err := blob.CheckProperties(p); err != nil {
		t.Error(err)
	}
	p.CacheControl = "x"
	if err := blob.CheckProperties(p); !errors.Is(err, blob.ErrProperties) {
		t.Errorf("CheckProperties = %v", err)
	}
}

// FuzzNames never accepts what a client may resolve to another name.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "a/../b", "./x", "a/.", "\x00", "\xff", "a//b", strings.Repeat("a", 1024)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := blob.CheckName(s); err == nil && (s == "" || len(s) > blob.MaxName || strings.Contains("/"+s+"/", "/../") || strings.ContainsAny(s, "\x00\n\r")) {
			t.Errorf("%q is a name", s)
		}
		if err := blob.CheckContainer(s); err == nil && (strings.ContainsAny(s, "./\\%_") || len(s) > 63) {
			t.Errorf("%q is a container", s)
		}
		_ = blob.CheckBlockID(s)
	})
}
