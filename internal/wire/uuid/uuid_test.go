package uuid_test

import (
	"regexp"
	"testing"

	"github.com/causeway-iot/causeway/internal/wire/uuid"
)

func TestNew(t *testing.T) {
	v4 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[[16]byte]bool{}
	for range 1000 {
		u := uuid.New()
		if text := uuid.Text(u); !v4.MatchString(text) || seen[u] {
			t.Fatalf("%s: not of version 4, or not new", text)
		}
		seen[u] = true
	}
}

func TestText(t *testing.T) {
	u := [16]byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	if got, want := uuid.Text(u), "123e4567-e89b-12d3-a456-426614174000"; got != want {
		t.Errorf("Text = %s, want %s", got, want)
	}
}
