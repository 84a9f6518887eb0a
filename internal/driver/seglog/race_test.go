//go:build race

package seglog_test

// stride thins out the tests that walk through every step or byte: the race
// detector makes them ten times as slow, and races do not depend on the step.
const stride = 13
