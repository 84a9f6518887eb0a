// Package routecond is the language of message routing conditions: statically
// typed, with three-valued logic, over the application properties, system
// properties and the JSON body of a message, and the twin of its sender.
//
// It knows the language and nothing of routes, sources of messages or where
// properties come from: what it reads it asks of a [Message].
//
//	text ──▶ tokens ──▶ tree ──▶ Condition ──▶ Undefined, False, True
//	      lex.go    parse.go   compile.go         Condition.Eval
//
// Conditions are compiled into a [Set], and those of one set are evaluated over
// a message together by an [Evaluator]: each property is looked up once, however
// many conditions read it, and the body is read once, only if one asks for it,
// in a single pass that picks out the paths of all of them. A pass allocates
// nothing.
//
// # Semantics
//
// They are those of the routing engine that is public as part of the edge
// runtime, a lexer with longest match included: "a-b", "a||b" and "key!" are
// names of properties. Where that engine only surprises, this one differs:
//
//   - A path that the body does not have equals null and is not defined; it is
//     neither less nor greater than anything. [Set.EdgeMissing] makes it null in
//     every respect.
//   - Text that looks like a date is text.
//   - "%" and unary "-" take values of the body. AND and OR take one on either
//     side.
//   - Whatever follows a complete condition is a syntax error.
//   - is_null of a value that is not null is false.
package routecond
