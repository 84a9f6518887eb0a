package logtest

import (
	"fmt"
	"testing"
)

func testReopen(t *testing.T, s *suite) {
	l := s.log(t, 2)
	for i := range 5 {
		mustAppend(t, l, 0, fmt.Sprint(i), "x")
	}
	if err := l.Trim(within(t), 0, 3); err != nil {
		t.Fatal(err)
	}
	oldest, _, err := l.Bounds(within(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = s.log(t, 2)
	again, next, err := l.Bounds(within(t), 0)
	if err != nil || again > oldest || next != 10 {
		t.Fatalf("Bounds = %d, %d, %v, want at most %d, 10", again, next, err, oldest)
	}
	wantBounds(t, l, 1, 0, 0)
	for _, r := range mustRead(t, l, 0, oldest, int(10-oldest)) {
		want := "x"
		if r.Offset%2 == 0 {
			want = fmt.Sprint(r.Offset / 2)
		}
		if string(r.Payload) != want {
			t.Errorf("record %d is %q, want %q", r.Offset, r.Payload, want)
		}
	}
	if first := mustAppend(t, l, 0, "next"); first != 10 {
		t.Errorf("offset %d, want 10", first)
	}
	if first := mustAppend(t, l, 1, "next"); first != 0 {
		t.Errorf("offset %d, want 0", first)
	}
}
