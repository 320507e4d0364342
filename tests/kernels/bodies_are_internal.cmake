# Fails when an object that is compiled per instruction set defines a weak function: the linker
# keeps one copy for the whole program, and it could be one that this machine cannot run.
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} -C --defined-only ${object}
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  if(weak)
    message(SEND_ERROR "${object}: ${weak}")
  endif()
endforeach()
