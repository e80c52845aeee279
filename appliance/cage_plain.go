//go:build !attack

package appliance

// rehearse does nothing: only an image that is built for the tests attacks
// itself.
func rehearse(_, _ string, _ RoleInput) {}
