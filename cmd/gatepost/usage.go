package main

const usage = `gatepost: a mail gateway that never sends in clear what must be protected

  gatepost serve        run the relay and its page on this machine
  gatepost status       how the running relay is
  gatepost queue        the waiting mail: list, show, retry, pause, resume,
                        return, delete, undo, export
  gatepost trace        what became of the mail of an address
  gatepost policy       the saved rules of other domains: list, show, refresh

  gatepost check FILE   say what is wrong with a settings file
  gatepost password     make the password_hash of a device for the settings
  gatepost board        which board this is; its lights on a terminal: show,
                        simulate
  gatepost version      say which version this is
  gatepost help         this text; each command tells more with -h

Started by the kernel or by itself:

  gatepost init         the first process of the box
  gatepost relay        the mail machine
  gatepost web          the admin page
`
