package main

const usage = `gatepost: a mail gateway that never sends in clear what must be protected

  gatepost check FILE   say what is wrong with a settings file
  gatepost password     make the password_hash of a device for the settings
  gatepost version      say which version this is
  gatepost help         this text

Started by the kernel or by itself:

  gatepost init         the first process of the box
  gatepost relay        the mail machine
  gatepost web          the admin page
`
