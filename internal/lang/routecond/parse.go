package routecond

import "fmt"

// Bounds of a condition.
const (
	// MaxLength is how many bytes the text of a condition may have.
	MaxLength = 16 << 10
	// maxNesting is how deep parentheses, calls and unary operators nest.
	maxNesting = 200
)

// form is the form of a node.
type form uint8

const (
	formLiteral form = iota // of token
	formName                // application property
	formSystem              // $name
	formEscaped             // {$name}
	formCall
	formUnary
	formBinary
)

// node is a part of a condition.
type node struct {
	form  form
	token token // what an error about it points at
	args  []*node
}

// parser is a recursive descent over the grammar
//
//	condition = [ coalesce ] end
//	coalesce  = or { "??" or }
//	or        = and { OR and }
//	and       = equality { AND equality }
//	equality  = relation { ( "=" | "!=" | "<>" ) relation }
//	relation  = sum { ( "<" | "<=" | ">" | ">=" ) sum }
//	sum       = product { ( "+" | "-" | "||" ) product }
//	product   = unary { ( "*" | "/" | "%" ) unary }
//	unary     = ( "-" | NOT ) unary | primary
//	primary   = "(" coalesce ")" | literal | SYSTEM | "{" SYSTEM "}" | call | NAME
//	call      = NAME "(" [ coalesce { "," coalesce } ] ")"
//
// After an error it sees the end of the text, and so comes to its own end.
type parser struct {
	text   string
	tokens []token
	depth  int
	failed *Error // the first error
}

// parse returns the tree of a text, nil for one that says nothing.
func parse(text string) (root *node, errs Errors) {
	p := &parser{text: text, tokens: lex(text)}
	for i := range p.tokens {
		switch t := &p.tokens[i]; t.kind {
		case tokUnterminated:
			errs = append(errs, p.err(t.at, "Syntax error: unterminated string"))
		case tokUnknown:
			errs = append(errs, p.err(t.at, fmt.Sprintf("Syntax error: invalid symbol '%s'", t.text)))
		}
	}
	if errs != nil {
		return nil, errs
	}
	if p.peek().kind == tokEnd {
		return nil, nil
	}
	root = p.coalesce()
	if t := p.peek(); t.is(")") {
		p.fail(t, "Syntax error: unmatched closing ')'")
	} else if t.kind != tokEnd {
		p.fail(t, "Syntax error.")
	}
	if p.failed != nil {
		return nil, Errors{p.failed}
	}
	return root, nil
}

func (p *parser) err(at span, message string) *Error { return &Error{message, at.at(p.text)} }

func (p *parser) fail(t *token, message string) {
	if p.failed == nil {
		p.failed = p.err(t.at, message)
	}
	p.tokens = p.tokens[len(p.tokens)-1:]
}

func (p *parser) peek() *token { return &p.tokens[0] }

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != tokEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

// binary reads operands of a level, from left to right.
func (p *parser) binary(operand func() *node, is func(t *token) bool) *node {
	left := operand()
	for is(p.peek()) {
		op := p.take()
		left = &node{formBinary, op, []*node{left, operand()}}
	}
	return left
}

func symbols(list ...string) func(*token) bool {
	return func(t *token) bool {
		for _, s := range list {
			if t.is(s) {
				return true
			}
		}
		return false
	}
}

func (p *parser) coalesce() *node { return p.binary(p.or, symbols("??")) }
func (p *parser) or() *node {
	return p.binary(p.and, func(t *token) bool { return t.kind == tokOr })
}

func (p *parser) and() *node {
	return p.binary(p.equality, func(t *token) bool { return t.kind == tokAnd })
}
func (p *parser) equality() *node { return p.binary(p.relation, symbols("=", "!=", "<>")) }
func (p *parser) relation() *node { return p.binary(p.sum, symbols("<", "<=", ">", ">=")) }
func (p *parser) sum() *node      { return p.binary(p.product, symbols("+", "-", "||")) }
func (p *parser) product() *node  { return p.binary(p.unary, symbols("*", "/", "%")) }

// unary is where the descent comes back to itself, so that it counts how deep.
func (p *parser) unary() *node {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.peek(), fmt.Sprintf("Syntax error: nested more than %d levels deep", maxNesting))
	}
	defer func() { p.depth-- }()
	if t := p.peek(); t.kind == tokNot || t.is("-") {
		op := p.take()
		return &node{formUnary, op, []*node{p.unary()}}
	}
	return p.primary()
}

func (p *parser) primary() *node {
	t := p.take()
	switch {
	case t.is("("):
		n := p.coalesce()
		if end := p.peek(); !end.is(")") {
			if end.kind == tokEnd {
				p.fail(&t, "Syntax error: missing closing ')'")
			} else {
				p.fail(end, "Syntax error.")
			}
		}
		p.take()
		return n
	case t.is("{"):
		name := p.take()
		if name.kind != tokSystem {
			p.fail(&name, "Syntax error.")
		}
		if end := p.take(); !end.is("}") {
			p.fail(&end, "Syntax error.")
		}
		return &node{form: formEscaped, token: name}
	}
	switch t.kind {
	case tokTrue, tokFalse, tokNull, tokUndefined, tokInteger, tokHex, tokReal, tokString:
		return &node{form: formLiteral, token: t}
	case tokSystem:
		return &node{form: formSystem, token: t}
	case tokName:
		if p.peek().is("(") {
			return p.call(t)
		}
		return &node{form: formName, token: t}
	}
	p.fail(&t, "Syntax error.")
	return &node{form: formLiteral, token: t}
}

func (p *parser) call(name token) *node {
	p.take()
	n := &node{form: formCall, token: name}
	if p.peek().is(")") {
		p.take()
		return n
	}
	for {
		n.args = append(n.args, p.coalesce())
		t := p.take()
		if t.is(")") {
			return n
		}
		if !t.is(",") {
			p.fail(&t, "Syntax error.")
			return n
		}
	}
}
