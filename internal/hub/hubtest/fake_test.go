package hubtest_test

import (
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/hub/hubtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeFollowsTheContract(t *testing.T) {
	hubtest.Run(t, func(t *testing.T) (causeway.Hub, hubtest.Admin) {
		f := hubtest.NewFake("fake.example")
		t.Cleanup(f.Close)
		return f, f
	})
}
