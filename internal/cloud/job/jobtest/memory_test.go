package jobtest_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/job/jobtest"
)

func TestMemory(t *testing.T) {
	jobtest.Run(t, func(*testing.T) jobtest.Fixture {
		m := jobtest.NewMemory("plant", "depot")
		return jobtest.Fixture{Store: m, DeleteHub: m.DeleteHub}
	})
}
