package routecond

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// units returns the length of s in UTF-16 code units.
func units(s string) int {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x80 || c >= 0xc0 && c < 0xf0:
			n++
		case c >= 0xf0:
			n += 2
		}
	}
	return n
}

// offset returns where in s its UTF-16 code unit n begins. A unit in the middle
// of a character begins where the character does.
func offset(s string, n int) int {
	for i, r := range s {
		if n <= 0 {
			return i
		}
		n--
		if r > 0xffff {
			if n == 0 {
				return i
			}
			n--
		}
	}
	return len(s)
}

func length(_ *compiler, a []expr) expr {
	x := a[0].texts()
	return numeric(func(e *Evaluator) float64 {
		t := x(e)
		if t.state != known {
			return math.NaN()
		}
		return float64(units(t.s))
	}, a...)
}

// concat is "||" and the function. A property that is null counts as nothing.
func concat(args []expr) expr {
	parts := make([]func(*Evaluator) text, len(args))
	for i := range args {
		parts[i] = args[i].texts()
	}
	return textual(func(e *Evaluator) text {
		// What a part makes goes to the same place: first all parts, then
		// the whole behind them.
		var few [4]text
		all := few[:0]
		for _, part := range parts {
			t := part(e)
			if t.state == absent {
				return text{}
			}
			all = append(all, t)
		}
		from := len(e.made)
		for _, t := range all {
			if len(e.made)+len(t.s) > maxMade {
				e.made = e.made[:from]
				return text{}
			}
			e.made = append(e.made, t.s...)
		}
		return e.text(from)
	})
}

// text returns what was made from an offset on.
func (e *Evaluator) text(from int) text {
	s, ok := e.keep(from)
	if !ok {
		return text{}
	}
	return text{s, known}
}

func changeCase(change func(rune) rune) func(*compiler, []expr) expr {
	return func(_ *compiler, a []expr) expr {
		x := a[0].texts()
		return textual(func(e *Evaluator) text {
			t := x(e)
			if t.state != known {
				return text{}
			}
			from := len(e.made)
			for _, r := range t.s {
				e.made = utf8.AppendRune(e.made, change(r))
			}
			return e.text(from)
		})
	}
}

func substringFrom(_ *compiler, a []expr) expr {
	x, start := a[0].texts(), a[1].numbers()
	return textual(func(e *Evaluator) text {
		t, n := x(e), math.Trunc(start(e))
		if t.state != known || !(n >= 0 && n <= float64(units(t.s))) {
			return text{}
		}
		return text{t.s[offset(t.s, int(n)):], known}
	})
}

func substringOf(_ *compiler, a []expr) expr {
	x, start, count := a[0].texts(), a[1].numbers(), a[2].numbers()
	return textual(func(e *Evaluator) text {
		t, n, k := x(e), math.Trunc(start(e)), math.Trunc(count(e))
		size := float64(units(t.s))
		if t.state != known || !(n >= 0 && n < size && k >= 0 && k <= size-n) {
			return text{}
		}
		rest := t.s[offset(t.s, int(n)):]
		return text{rest[:offset(rest, int(k))], known}
	})
}

func indexOf(_ *compiler, a []expr) expr {
	x, y := a[0].texts(), a[1].texts()
	return numeric(func(e *Evaluator) float64 {
		s, part := x(e), y(e)
		if s.state != known || part.state != known {
			return math.NaN()
		}
		i := strings.Index(s.s, part.s)
		if i < 0 {
			return -1
		}
		return float64(units(s.s[:i]))
	}, a...)
}

func match(f func(s, part string) bool) []function {
	return []function{{params: [][]typ{stringArg, stringArg}, make: func(_ *compiler, a []expr) expr {
		x, y := a[0].texts(), a[1].texts()
		return logical(func(e *Evaluator) Bool {
			s, part := x(e), y(e)
			if s.state != known || part.state != known {
				return Undefined
			}
			return truth(f(s.s, part.s))
		}, a...)
	}}}
}

// maxNumberText is how long the text of a number may be.
const maxNumberText = 512

// parseNumber reads a number the way the service's platform reads any: blanks
// around it, a sign on either side, parentheses for a negative one, a currency
// sign, commas between digits, an exponent. It returns NaN for anything else.
func parseNumber(t text) float64 {
	nan := math.NaN()
	if t.state != known || len(t.s) > maxNumberText {
		return nan
	}
	s := strings.Trim(t.s, " \t\n\v\f\r")
	var buf [64]byte
	out := buf[:0]
	negative, signed := false, false
	if inner, ok := strings.CutPrefix(s, "("); ok {
		if inner, ok = strings.CutSuffix(inner, ")"); !ok {
			return nan
		}
		s, negative, signed = strings.Trim(inner, " \t\n\v\f\r"), true, true
	}
	currency := false
	for s != "" { // signs before
		switch {
		case !signed && (s[0] == '-' || s[0] == '+'):
			negative, signed, s = s[0] == '-', true, s[1:]
			continue
		case !currency && strings.HasPrefix(s, "¤"):
			currency, s = true, s[len("¤"):]
			continue
		}
		break
	}
	if word := strings.ToLower(s); word == "infinity" || word == "∞" {
		if negative {
			return math.Inf(-1)
		}
		return math.Inf(1)
	}
	i, digits := 0, 0
	for ; i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == ',' && digits > 0); i++ {
		if s[i] != ',' {
			out = append(out, s[i])
			digits++
		}
	}
	if i < len(s) && s[i] == '.' {
		out = append(out, '.')
		for i++; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			out = append(out, s[i])
			digits++
		}
	}
	if digits == 0 {
		return nan
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		from := j
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		if j > from {
			out = append(out, s[i:j]...)
			i = j
		}
	}
	s = strings.TrimLeft(s[i:], " ")
	for s != "" { // signs behind
		switch {
		case !signed && (s[0] == '-' || s[0] == '+'):
			negative, signed, s = s[0] == '-', true, s[1:]
		case !currency && strings.HasPrefix(s, "¤"):
			currency, s = true, s[len("¤"):]
		default:
			return nan
		}
	}
	f, err := strconv.ParseFloat(view(out), 64)
	if err != nil && !math.IsInf(f, 0) {
		return nan
	}
	if negative {
		return -f
	}
	return f
}
