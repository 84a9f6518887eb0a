package directorytest_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/cloud/directory"
	"github.com/causeway-iot/causeway/internal/cloud/directory/directorytest"
)

func TestMemory(t *testing.T) {
	directorytest.Run(t, func(*testing.T) directory.Store { return directorytest.NewMemory() })
}
