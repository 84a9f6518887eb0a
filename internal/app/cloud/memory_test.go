package cloud

import "testing"

func TestTrim(t *testing.T) {
	var tr trim
	steps := []struct {
		name      string
		allocated uint64
		want      bool
	}{
		{"a storm goes on", 100 << 20, false},
		{"and on", 200 << 20, false},
		{"it is over", 201 << 20, true},
		{"stacks shrink in steps", 201<<20 + 1000, true},
		{"the last step", 202 << 20, true},
		{"nothing left to give", 203 << 20, false},
		{"steady work is left alone", 300 << 20, false},
		{"until it rests", 301 << 20, true},
	}
	for _, s := range steps {
		if got := tr.look(s.allocated); got != s.want {
			t.Errorf("%s: %v, want %v", s.name, got, s.want)
		}
	}
}
