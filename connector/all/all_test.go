package all_test

import (
	"testing"

	"github.com/causeway-iot/causeway/connector/all"
)

func TestKinds(t *testing.T) {
	kinds := all.Sinks().Kinds()
	if len(kinds) != 8 {
		t.Errorf("%d kinds", len(kinds))
	}
	for _, k := range kinds {
		if k.Doc == "" || len(k.Fields) == 0 {
			t.Errorf("%+v", k)
		}
	}
}
