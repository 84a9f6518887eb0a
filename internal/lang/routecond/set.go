package routecond

import (
	"strings"
)

// Set is conditions that are evaluated together. Conditions are added before
// the first evaluator is made; from then on it is only read, by any number of
// goroutines.
type Set struct {
	// EdgeMissing makes a path that the body does not have null in every
	// respect, as the edge runtime has it. Set it before the first Compile.
	EdgeMissing bool

	names  map[lookup]int // properties that are read → slots
	lookup []lookup
	body   *wanted
	bodies map[string]int // paths → slots
	twin   *wanted
	twins  int
}

// lookup is a property as a condition names it.
type lookup struct {
	name string // in lower case
	// application and system say where to look, in that order; the name of the
	// application property then has a "$" in front.
	application, system bool
}

// Options are what a condition is compiled for.
type Options struct {
	// TwinChanges allows twin_change_includes: the messages are changes of
	// twins.
	TwinChanges bool
}

// Condition is a compiled condition. It never changes.
type Condition struct {
	eval     func(*Evaluator) Bool
	constant Bool
	fixed    bool
	twin     bool
	parts    []part // it is true when one of them is
}

// Eval returns the outcome over the message that e was reset to. E must be an
// evaluator of the set that c was compiled into.
func (c *Condition) Eval(e *Evaluator) Bool {
	if c.fixed {
		return c.constant
	}
	return c.eval(e)
}

// Constant returns the outcome when it is the same for all messages.
func (c *Condition) Constant() (b Bool, ok bool) { return c.constant, c.fixed }

// ReadsTwin reports whether the condition may ask for the sender's twin.
func (c *Condition) ReadsTwin() bool { return c.twin }

// Compile adds a condition. The error is an [Errors].
func (s *Set) Compile(text string, o Options) (*Condition, error) {
	if len(text) > MaxLength {
		return nil, Errors{{
			Message:  "Syntax error: the condition is too long",
			Location: span{MaxLength, MaxLength + 1}.at(text),
		}}
	}
	root, errs := parse(text)
	if errs != nil {
		return nil, errs
	}
	if root == nil {
		return &Condition{fixed: true}, nil
	}
	c := &compiler{set: s, text: text, options: o}
	x := c.expr(root)
	if c.errs != nil {
		return nil, c.errs
	}
	out := &Condition{eval: final(x), twin: c.twin}
	out.parts = []part{{eval: out.eval}}
	if x.typ == typeBool {
		out.parts = x.alternatives()
	}
	if x.constant {
		out.constant, out.fixed = out.eval(nil), true
	}
	return out, nil
}

// final turns the value of a whole condition into an outcome.
func final(x expr) func(*Evaluator) Bool {
	switch x.typ {
	case typeBool:
		return x.truth
	case typeQuery:
		return func(e *Evaluator) Bool {
			v := x.query(e)
			return v.boolean()
		}
	case typeNull:
		return func(*Evaluator) Bool { return False }
	default:
		return func(*Evaluator) Bool { return Undefined }
	}
}

// slot returns where the value of a property is kept.
func (s *Set) slot(l lookup) int {
	l.name = strings.ToLower(l.name)
	if at, ok := s.names[l]; ok {
		return at
	}
	if s.names == nil {
		s.names = map[lookup]int{}
	}
	at := len(s.lookup)
	s.names[l], s.lookup = at, append(s.lookup, l)
	return at
}

// bodySlot returns where the value of a path of the body is kept.
func (s *Set) bodySlot(path string, parsed []step) int {
	if at, ok := s.bodies[path]; ok {
		return at
	}
	if s.bodies == nil {
		s.bodies, s.body = map[string]int{}, newWanted()
	}
	w := s.body.add(parsed)
	if w.slot < 0 { // not the same path in other words
		w.slot = len(s.bodies)
	}
	s.bodies[path] = w.slot
	return w.slot
}

// twinSlot returns where the value of a path of the twin is kept; ok is false
// for a path that leads nowhere.
func (s *Set) twinSlot(path []step) (slot int, ok bool) {
	for i := range path {
		path[i].member = strings.ToLower(path[i].member)
	}
	switch {
	case path[0].member == "tags":
	case len(path) > 1 && path[0].member == "properties" && (path[1].member == "desired" || path[1].member == "reported"):
	default:
		return 0, false
	}
	if s.twin == nil {
		s.twin = newWanted()
	}
	w := s.twin.add(path)
	if w.slot < 0 {
		w.slot = s.twins
		s.twins++
	}
	return w.slot, true
}

// Evaluator evaluates the conditions of a set over one message after another.
// It is for one goroutine at a time, and allocates nothing once it is warm.
type Evaluator struct {
	set     *Set
	msg     Message
	shadows bool
	round   uint32
	names   []found
	looked  bool // for a property, since the last Reset to nil
	body    []value
	read    bool // the body was looked at
	usable  bool // and is a JSON object that conditions may read
	twin    []value
	twinned bool // the twin was looked at
	scan    scanner
	decoded []byte
	made    []byte // texts that functions made
}

// found is the value of a property, looked up in a round.
type found struct {
	round uint32
	text  text
}

// maxKept bounds the scratch space that an evaluator keeps, and maxMade the
// texts that the functions of conditions may make of one message.
const (
	maxKept = 64 << 10
	maxMade = 4 << 20
)

// Evaluator returns a new evaluator.
func (s *Set) Evaluator() *Evaluator { return &Evaluator{set: s} }

// Reset turns to another message. Nil lets go of the last one.
func (e *Evaluator) Reset(m Message) {
	e.msg, e.read, e.usable, e.twinned = m, false, false, false
	e.scan.b = nil
	if m == nil {
		// What was found points into the message.
		if e.looked {
			clear(e.names)
			e.looked = false
		}
		e.scan.forget(e.body)
		clear(e.twin)
		for _, b := range []*[]byte{&e.scan.scratch, &e.decoded, &e.made} {
			if cap(*b) > maxKept {
				*b = nil
			}
		}
		return
	}
	e.shadows = m.Shadows()
	e.scan.scratch, e.made = e.scan.scratch[:0], e.made[:0]
	if e.round++; e.round == 0 {
		clear(e.names)
		e.round = 1
	}
	if n := len(e.set.lookup); len(e.names) < n {
		e.names = append(e.names, make([]found, n-len(e.names))...)
	}
	for len(e.body) < len(e.set.bodies) {
		e.body, e.scan.marks = append(e.body, value{is: isMissing}), append(e.scan.marks, false)
	}
}

// property returns the value of a property.
func (e *Evaluator) property(slot int) text {
	f := &e.names[slot]
	if f.round != e.round {
		e.looked = true
		f.round, f.text = e.round, e.find(&e.set.lookup[slot])
	}
	return f.text
}

func (e *Evaluator) find(l *lookup) text {
	if l.application && (!l.system || e.shadows) {
		if s, isNull, ok := e.msg.Property(l.name); ok {
			if isNull {
				return text{state: null}
			}
			return text{s, known}
		}
	}
	if !l.system {
		return text{}
	}
	name := l.name
	if l.application {
		name = name[1:] // without "$"
	}
	if s, ok := e.msg.System(name); ok {
		return text{s, known}
	}
	return text{}
}

// path returns the value of a path of the body.
func (e *Evaluator) path(slot int) *value {
	if !e.look() {
		return &nowhere
	}
	return &e.body[slot]
}

// look reads the body if that was not done, and reports whether it is one that
// conditions may read.
func (e *Evaluator) look() bool {
	if !e.read {
		e.read = true
		e.usable = e.readBody()
	}
	return e.usable
}

// nowhere is the value of every path of a body that cannot be read.
var nowhere value

func (e *Evaluator) readBody() bool {
	t, _ := e.msg.System("contenttype")
	if t != "application/json" && !strings.EqualFold(t, "application/json") {
		return false
	}
	encoding, _ := e.msg.System("contentencoding")
	body := e.msg.Body()
	switch {
	case encoding == "utf-8" || strings.EqualFold(encoding, "utf-8"):
	case strings.EqualFold(encoding, "utf-16"):
		e.decoded = decode(e.decoded[:0], body, "utf-16")
		body = e.decoded
	case strings.EqualFold(encoding, "utf-32"):
		e.decoded = decode(e.decoded[:0], body, "utf-32")
		body = e.decoded
	default:
		return false
	}
	s := &e.scan
	s.values, s.nothing, s.fold = e.body, value{is: isMissing}, false
	s.forget(e.body) // of the last message
	return s.document(body, e.set.body)
}

// twinPath returns the value of a path of the twin.
func (e *Evaluator) twinPath(slot int) *value {
	if !e.twinned {
		e.twinned = true
		e.readTwin()
	}
	return &e.twin[slot]
}

func (e *Evaluator) readTwin() {
	if len(e.twin) < e.set.twins {
		e.twin = make([]value, e.set.twins)
	}
	clear(e.twin)
	t, ok := e.msg.Twin()
	if !ok {
		return
	}
	s := &e.scan
	marks := s.marks // of the body
	s.values, s.nothing, s.fold, s.marks = e.twin, value{}, true, nil
	defer func() { s.marks = marks }()
	properties := e.set.twin.child("properties")
	for _, section := range []struct {
		w   *wanted
		doc []byte
	}{{e.set.twin.child("tags"), t.Tags}, {properties.child("desired"), t.Desired}, {properties.child("reported"), t.Reported}} {
		if section.w == nil || len(section.doc) == 0 {
			continue
		}
		s.keep(section.w, value{is: isObject})
		if !s.document(section.doc, section.w) {
			section.w.clear(e.twin, value{}) // a half is nothing to decide by
		}
	}
}

// child returns the child of that name, nil when there is none.
func (w *wanted) child(name string) *wanted {
	if w == nil {
		return nil
	}
	return w.member([]byte(name), true)
}

// keep returns what a function made as a text of the message; ok is false when
// functions have made too much.
func (e *Evaluator) keep(from int) (s string, ok bool) {
	if len(e.made) > maxMade {
		e.made = e.made[:from]
		return "", false
	}
	return view(e.made[from:]), true
}
