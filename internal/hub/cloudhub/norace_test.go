//go:build !race

package cloudhub_test

const raceEnabled = false
