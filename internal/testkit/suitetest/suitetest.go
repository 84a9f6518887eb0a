// Package suitetest is how contract suites of stores say what they expect, in
// the same words.
//
// It knows no store.
package suitetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/causeway-iot/causeway"
)

// Must ends the test when there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Code reports an error with another code than is wanted.
func Code(t testing.TB, err error, want causeway.Code) {
	t.Helper()
	if got := causeway.CodeOf(err); got != want {
		t.Errorf("error is %v (%v), want code %v", err, got, want)
	}
}

// Same reports how got differs from want. Nothing and an empty list or map are
// the same.
func Same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
