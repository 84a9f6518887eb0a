package sim

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// The shapes of telemetry.
const (
	Constant = "constant" // always the same values
	Sine     = "sine"     // a wave of five minutes
	Walk     = "walk"     // a random walk
	Template = "template" // text of the user's, with placeholders
)

// Shapes lists the shapes.
func Shapes() []string { return []string{Constant, Sine, Walk, Template} }

// MaxSize bounds a generated message.
const MaxSize = causeway.MaxMessageSize - 1024

// Shape is what messages look like.
type Shape struct {
	Name string
	Size int // pad the message to so many bytes; templates are not padded
	text []part
}

// NewShape returns a shape. The template is for the shape of that name: its
// placeholders are ${device}, ${n} (a counter), ${time} (RFC 3339), ${unix},
// and ${rand:A:B}, ${sine:A:B}, ${walk:A:B} for numbers between A and B.
func NewShape(name, template string, size int) (*Shape, error) {
	s := &Shape{Name: name, Size: size}
	switch name {
	case Constant, Sine, Walk:
		if template != "" {
			return nil, fmt.Errorf("a template belongs to the shape %s, not to %s", Template, name)
		}
	case Template:
		var err error
		if s.text, err = parseTemplate(template); err != nil {
			return nil, err
		}
		if size > 0 {
			return nil, fmt.Errorf("a template has the size it has")
		}
	default:
		return nil, fmt.Errorf("unknown shape %q: choose %s", name, strings.Join(Shapes(), ", "))
	}
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("a size of %d bytes is not within 0 and %d", size, MaxSize)
	}
	return s, nil
}

// part is a piece of a template: plain text, or a placeholder.
type part struct {
	text     string
	kind     string
	from, to float64
}

func parseTemplate(t string) ([]part, error) {
	if t == "" {
		return nil, fmt.Errorf("the shape %s needs a template", Template)
	}
	var parts []part
	for t != "" {
		i := strings.Index(t, "${")
		if i < 0 {
			return append(parts, part{text: t}), nil
		}
		if i > 0 {
			parts = append(parts, part{text: t[:i]})
		}
		inner, rest, ok := strings.Cut(t[i+2:], "}")
		if !ok {
			return nil, fmt.Errorf("template: ${%.20s has no end", t[i+2:])
		}
		p, err := parsePlaceholder(inner)
		if err != nil {
			return nil, err
		}
		parts, t = append(parts, p), rest
	}
	return parts, nil
}

func parsePlaceholder(s string) (part, error) {
	fields := strings.Split(s, ":")
	p := part{kind: fields[0], to: 100}
	switch p.kind {
	case "device", "n", "time", "unix":
		if len(fields) > 1 {
			return p, fmt.Errorf("template: ${%s} takes no range", s)
		}
		return p, nil
	case "rand", "sine", "walk":
	default:
		return p, fmt.Errorf("template: unknown placeholder ${%s}: there are device, n, time, unix, rand, sine, walk", s)
	}
	if len(fields) == 1 {
		return p, nil
	}
	var err1, err2 error
	if len(fields) == 3 {
		p.from, err1 = strconv.ParseFloat(fields[1], 64)
		p.to, err2 = strconv.ParseFloat(fields[2], 64)
	}
	if len(fields) != 3 || err1 != nil || err2 != nil || !(p.from <= p.to) || math.IsInf(p.to-p.from, 0) {
		return p, fmt.Errorf("template: ${%s} is not like ${%s:0:100}", s, p.kind)
	}
	return p, nil
}

// Generator makes the messages of one device. It is not safe for concurrent use.
type Generator struct {
	shape  *Shape
	device string
	phase  float64   // of waves, so that devices differ
	walks  []float64 // 0 to 1
	n      int64
	rnd    *rand.Rand
}

// Generator returns the generator of a device. What it makes depends on the
// name only, and on the time for waves.
func (s *Shape) Generator(device string) *Generator {
	h := fnv.New64a()
	h.Write([]byte(device)) //nolint:errcheck // it never fails
	rnd := rand.New(rand.NewPCG(h.Sum64(), 1))
	g := &Generator{shape: s, device: device, rnd: rnd, phase: rnd.Float64() * 2 * math.Pi}
	for range max(2, len(s.text)) {
		g.walks = append(g.walks, rnd.Float64())
	}
	return g
}

// wavePeriod is how long one wave of the shape sine takes.
const wavePeriod = 5 * time.Minute

func (g *Generator) wave(t time.Time) float64 {
	return .5 + .5*math.Sin(g.phase+2*math.Pi*float64(t.UnixNano()%int64(wavePeriod))/float64(wavePeriod))
}

// walk moves a value by a small step and keeps it within 0 and 1.
func (g *Generator) walk(i int) float64 {
	v := g.walks[i] + (g.rnd.Float64()-.5)/10
	if v < 0 || v > 1 {
		v = g.walks[i]
	}
	g.walks[i] = v
	return v
}

func between(from, to, x float64) float64 { return math.Round((from+(to-from)*x)*100) / 100 }

// Next returns the next message.
func (g *Generator) Next(now time.Time) *causeway.Message {
	g.n++
	m := &causeway.Message{ContentEncoding: "utf-8", ContentType: "application/json"}
	if g.shape.Name == Template {
		m.Body = g.fill(now)
		if !json.Valid(m.Body) {
			m.ContentType = "text/plain"
		}
		return m
	}
	x, y := .5, .5
	switch g.shape.Name {
	case Sine:
		x = g.wave(now)
		y = 1 - x
	case Walk:
		x, y = g.walk(0), g.walk(1)
	}
	m.Body = fmt.Appendf(nil, `{"n":%d,"temperature":%v,"humidity":%v,"time":%q`,
		g.n, between(15, 30, x), between(30, 70, y), now.UTC().Format("2006-01-02T15:04:05.000Z"))
	const frame = len(`,"pad":""}`)
	if pad := g.shape.Size - len(m.Body) - frame; pad > 0 {
		m.Body = fmt.Appendf(m.Body, `,"pad":%q`, strings.Repeat("x", pad))
	}
	m.Body = append(m.Body, '}')
	return m
}

func (g *Generator) fill(now time.Time) []byte {
	var b []byte
	number := func(p part, x float64) { b = strconv.AppendFloat(b, between(p.from, p.to, x), 'f', -1, 64) }
	for i, p := range g.shape.text {
		switch p.kind {
		case "":
			b = append(b, p.text...)
		case "device":
			b = append(b, g.device...)
		case "n":
			b = strconv.AppendInt(b, g.n, 10)
		case "time":
			b = now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		case "unix":
			b = strconv.AppendInt(b, now.Unix(), 10)
		case "rand":
			number(p, g.rnd.Float64())
		case "sine":
			number(p, g.wave(now))
		case "walk":
			number(p, g.walk(i))
		}
		if len(b) > MaxSize {
			return b[:MaxSize]
		}
	}
	return b
}
