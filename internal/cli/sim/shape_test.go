package sim_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/internal/cli/sim"
)

var noon = time.Date(2024, 1, 31, 12, 0, 0, 0, time.UTC)

func shape(t *testing.T, name, template string, size int) *sim.Shape {
	t.Helper()
	s, err := sim.NewShape(name, template, size)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type reading struct {
	N                     int
	Temperature, Humidity float64
	Time                  time.Time
}

func read(t *testing.T, g *sim.Generator, at time.Time) reading {
	t.Helper()
	var r reading
	m := g.Next(at)
	if err := json.Unmarshal(m.Body, &r); err != nil {
		t.Fatalf("%s: %v", m.Body, err)
	}
	return r
}

func TestShapes(t *testing.T) {
	for _, name := range []string{sim.Constant, sim.Sine, sim.Walk} {
		g := shape(t, name, "", 0).Generator("d")
		values := map[float64]bool{}
		for i := range 200 {
			r := read(t, g, noon.Add(time.Duration(i)*time.Second))
			if r.N != i+1 || r.Temperature < 15 || r.Temperature > 30 || r.Humidity < 30 || r.Humidity > 70 {
				t.Fatalf("%s: message %d is %+v", name, i, r)
			}
			values[r.Temperature] = true
		}
		if constant := len(values) == 1; constant != (name == sim.Constant) {
			t.Errorf("%s: %d different values", name, len(values))
		}
	}
}

func TestDevicesDiffer(t *testing.T) {
	s := shape(t, sim.Walk, "", 0)
	if read(t, s.Generator("a"), noon) == read(t, s.Generator("b"), noon) {
		t.Error("two devices send the same")
	}
	if read(t, s.Generator("a"), noon) != read(t, s.Generator("a"), noon) {
		t.Error("a device is not reproducible")
	}
}

func TestSize(t *testing.T) {
	for _, size := range []int{200, 256, 4096, sim.MaxSize} {
		if m := shape(t, sim.Constant, "", size).Generator("d").Next(noon); len(m.Body) != size || !json.Valid(m.Body) {
			t.Errorf("size %d: got %d bytes", size, len(m.Body))
		}
	}
}

func TestTemplate(t *testing.T) {
	g := shape(t, sim.Template, `{"id":"${device}","n":${n},"t":"${time}","u":${unix},"r":${rand:5:5},"w":${walk:-1:1}}`, 0).Generator("d")
	m := g.Next(noon)
	want := `{"id":"d","n":1,"t":"2024-01-31T12:00:00.000Z","u":1706702400,"r":5,"w":`
	if !strings.HasPrefix(string(m.Body), want) || m.ContentType != "application/json" {
		t.Errorf("got %s %s, want prefix %s", m.ContentType, m.Body, want)
	}
	if m := shape(t, sim.Template, "plain ${n}", 0).Generator("d").Next(noon); string(m.Body) != "plain 1" || m.ContentType != "text/plain" {
		t.Errorf("got %s %s", m.ContentType, m.Body)
	}
}

func TestShapeErrors(t *testing.T) {
	for _, c := range []struct {
		name, template string
		size           int
		want           string
	}{
		{"square", "", 0, "choose constant, sine, walk, template"},
		{sim.Sine, "x", 0, "belongs to the shape template"},
		{sim.Template, "", 0, "needs a template"},
		{sim.Template, "x", 5, "has the size it has"},
		{sim.Template, "${n", 0, "has no end"},
		{sim.Template, "${nn}", 0, "unknown placeholder ${nn}"},
		{sim.Template, "${n:1:2}", 0, "takes no range"},
		{sim.Template, "${rand:2:1}", 0, "is not like ${rand:0:100}"},
		{sim.Template, "${rand:1}", 0, "is not like"},
		{sim.Template, "${rand:NaN:1}", 0, "is not like"},
		{sim.Constant, "", sim.MaxSize + 1, "is not within"},
	} {
		if _, err := sim.NewShape(c.name, c.template, c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: got %v, want %s", c.name, c.template, err, c.want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	f.Add("${device} ${walk:1:2} ${sine} }")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := sim.NewShape(sim.Template, text, 0)
		if err != nil {
			return
		}
		if m := s.Generator("d").Next(noon); len(m.Body) > sim.MaxSize {
			t.Errorf("%d bytes", len(m.Body))
		}
	})
}
