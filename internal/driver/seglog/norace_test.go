//go:build !race

package seglog_test

const stride = 1
