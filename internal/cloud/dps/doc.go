// Package dps is the provisioning service: it knows which devices may come
// (enrollments), decides to which hub each belongs, makes its identity there, and
// remembers what it decided (registrations).
//
//	Register ─▶ prove who it is ─▶ find its enrollment ─▶ note the operation ─▶ "assigning"
//	                                                            │
//	Lookup ◀── assigned, failed, disabled ◀── note it ◀── identity on the hub ◀── choose a hub
//
// An operation is noted durably before it is acknowledged and goes on after a
// restart; every step of it may be taken twice with the same result. So is the hub that
// was chosen, before that is called: with the operation, or when a webhook has answered.
// A device that registers again while its operation is under way joins it.
//
// A hub that fails gets no new devices until it answers again. What was decided, and
// why, is put on record together with the outcome. A service that is told to takes
// so many calls and no more; only who has proved who it is uses that up.
//
// It does not know protocols, nor how hubs are reached: a linked hub is a [Target].
package dps
